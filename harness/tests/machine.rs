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
    assert_eq!(report["cuda"]["usable"], false, "no engine trains on a GPU yet");
    assert!(!report["cuda"]["reason"].as_str().unwrap().is_empty(), "{report}");
    let readable = text(&crossscale(folder.path(), &["doctor"]).stdout);
    assert!(readable.contains("matrix products") && readable.contains("CUDA"), "{readable}");
}

#[test]
fn cli_an_absent_gpu_is_refused_with_code_6_before_anything_is_written() {
    let folder = TempDir::new().unwrap();
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

/// Libraries in the place of NVIDIA's. A call that opened a context would end the program, for
/// these have no such function.
#[cfg(all(feature = "cuda", target_os = "linux"))]
mod stand_in {
    use super::*;

    const DRIVER: &str = r#"
        use std::ffi::{c_char, c_int};
        fn is(case: &str) -> bool { std::env::var("STAND_IN").is_ok_and(|value| value == case) }
        #[unsafe(no_mangle)] pub extern "C" fn cuInit(_: u32) -> c_int {
            if is("none") { 100 } else if is("broken") { 999 } else { 0 }
        }
        #[unsafe(no_mangle)] pub unsafe extern "C" fn cuDriverGetVersion(v: *mut c_int) -> c_int {
            unsafe { *v = if is("old") { 12080 } else { 13000 } }; 0
        }
        #[unsafe(no_mangle)] pub unsafe extern "C" fn cuDeviceGetCount(n: *mut c_int) -> c_int {
            unsafe { *n = if is("empty") { 0 } else { 2 } }; 0
        }
        #[unsafe(no_mangle)] pub unsafe extern "C" fn cuDeviceGet(d: *mut i32, i: i32) -> c_int {
            unsafe { *d = 7 + i }; 0
        }
        #[unsafe(no_mangle)] pub unsafe extern "C" fn cuDeviceGetName(
            name: *mut c_char, length: c_int, device: c_int,
        ) -> c_int {
            let text = if device == 7 { c"NVIDIA H200" } else { c"NVIDIA A100" };
            let text = text.to_bytes_with_nul();
            assert!(text.len() <= length as usize);
            unsafe { std::ptr::copy(text.as_ptr().cast(), name, text.len()) }; 0
        }
        #[unsafe(no_mangle)] pub unsafe extern "C" fn cuDeviceTotalMem_v2(
            bytes: *mut usize, device: c_int,
        ) -> c_int {
            unsafe { *bytes = device as usize * 10_000_000_000 }; 0
        }
        #[unsafe(no_mangle)] pub unsafe extern "C" fn cuDeviceGetAttribute(
            value: *mut c_int, attribute: c_int, _: c_int,
        ) -> c_int {
            // 75 and 76: major and minor compute capability.
            unsafe { *value = if attribute == 75 { 9 } else { 0 } }; 0
        }
    "#;

    fn library(folder: &Path, name: &str, source: &str) {
        let path = folder.join(format!("{name}.rs"));
        std::fs::write(&path, source).unwrap();
        let mut rustc = Command::new("rustc");
        rustc.args(["--edition", "2024", "--crate-type", "cdylib", "-Awarnings", "-o"]);
        let made = rustc.arg(folder.join(format!("{name}.so"))).arg(&path).status().unwrap();
        assert!(made.success());
    }

    #[test]
    fn cli_doctor_reads_gpus_from_the_driver_and_opens_no_context() {
        let folder = TempDir::new().unwrap();
        library(folder.path(), "libcuda", DRIVER);
        let with = |case: &str, arguments: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_crossscale"));
            let on = command.current_dir(folder.path()).env("LD_LIBRARY_PATH", folder.path());
            on.env("STAND_IN", case).args(arguments).output().unwrap()
        };
        let report = |case: &str| -> serde_json::Value {
            let output = with(case, &["doctor", "--json"]);
            assert!(output.status.success(), "{case}: {}", text(&output.stderr));
            serde_json::from_slice(&output.stdout).unwrap()
        };
        for (case, gpus, reason) in [
            ("", 2, "libcublasLt (of CUDA 13) was not found"),
            ("old", 0, "the driver knows CUDA up to 12.8, the kernels need 13.0"),
            ("empty", 0, "the driver lists no GPU"),
            ("none", 0, "the driver lists no GPU"),
            ("broken", 0, "the driver refuses: cuInit gives CUDA_ERROR_UNKNOWN"),
        ] {
            let report = report(case);
            assert_eq!(report["cuda"]["reason"], reason, "{case}");
            assert_eq!(report["cuda"]["devices"].as_array().unwrap().len(), gpus, "{case}");
        }
        library(folder.path(), "libcublasLt", "");
        let report = report("");
        let reason = "this version has GPU kernels and no engine yet that trains with them";
        assert_eq!(
            (&report["cuda"]["reason"], &report["cuda"]["usable"]),
            (&reason.into(), &false.into())
        );
        let [first, second] = [0, 1].map(|index| &report["cuda"]["devices"][index]);
        assert_eq!(
            (&first["name"], &second["name"]),
            (&"NVIDIA H200".into(), &"NVIDIA A100".into())
        );
        assert_eq!(first["memory_bytes"], 70_000_000_000u64);
        assert_eq!(second["compute_capability"], "9.0");
        let train = ["train", "--model", "pt", "--width", "16", "--out", "out", "--dry-run"];
        let said = text(&with("", &train).stderr);
        assert_eq!(said.matches(&format!("using the CPU: {reason}")).count(), 1, "{said}");
        let refused = with("", &[&train[..], &["--device", "cuda"]].concat());
        let said = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(6), "{said}");
        assert!(said.contains(reason) && said.contains("hint: "), "{said}");
    }
}
