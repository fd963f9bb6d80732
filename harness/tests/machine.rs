//! What the program says about the machine, a cluster and a ledger.

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

fn crossscale(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_crossscale"));
    command.current_dir(folder).args(arguments).output().expect("the binary starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn cli_doctor_describes_this_machine_and_says_what_cuda_lacks() {
    let folder = TempDir::new().unwrap();
    let output = crossscale(folder.path(), &["doctor", "--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["threads"].as_u64().unwrap() > 0);
    assert!(report["gemm_gflops_per_thread"].as_f64().unwrap() > 0.1);
    assert!(report["rustc"].as_str().unwrap().starts_with("rustc"));
    if !report["cuda"]["usable"].as_bool().unwrap() {
        assert!(!report["cuda"]["problem"].as_str().unwrap().is_empty(), "{report}");
    }
    let readable = text(&crossscale(folder.path(), &["doctor"]).stdout);
    assert!(readable.contains("matrix products") && readable.contains("CUDA"), "{readable}");
}

#[test]
fn cli_an_absent_gpu_is_refused_with_code_6_before_anything_is_written() {
    let folder = TempDir::new().unwrap();
    let doctor = crossscale(folder.path(), &["doctor", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&doctor.stdout).unwrap();
    if report["cuda"]["usable"].as_bool().unwrap() {
        eprintln!("skipped: there is a GPU");
        return;
    }
    let train = ["train", "--model", "pt", "--width", "16", "--out", "out", "--device", "cuda"];
    let output = crossscale(folder.path(), &train);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(6), "{said}");
    assert!(said.contains("hint: "), "{said}");
    assert!(!folder.path().join("out").exists(), "something was written");
}

#[test]
fn cli_launch_shows_its_script_and_needs_a_cluster_to_submit_it() {
    let folder = TempDir::new().unwrap();
    let dry = crossscale(folder.path(), &["launch", "slurm", "quick", "--dry-run", "--tasks", "3"]);
    assert!(dry.status.success(), "{}", text(&dry.stderr));
    let script = text(&dry.stdout);
    for part in ["#SBATCH --array=0-2", "--requeue", "--signal=B:TERM@120", "--preset quick"] {
        assert!(script.contains(part), "no {part} in\n{script}");
    }
    assert!(!folder.path().join("runs").exists(), "a dry run writes nothing");
    let unknown = crossscale(folder.path(), &["launch", "slurm", "quack", "--dry-run"]);
    assert_eq!(unknown.status.code(), Some(2), "{}", text(&unknown.stderr));
    let mut command = Command::new(env!("CARGO_BIN_EXE_crossscale"));
    command.current_dir(folder.path()).env("PATH", "").args(["launch", "slurm", "quick"]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(6), "{}", text(&output.stderr));
    assert!(folder.path().join("runs/quick/slurm.sh").exists(), "the script is kept");
}

#[test]
fn cli_status_without_a_ledger_is_an_error_with_a_hint() {
    let folder = TempDir::new().unwrap();
    for place in ["absent", "."] {
        let output = crossscale(folder.path(), &["status", place]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.contains("hint: "), "{said}");
    }
}
