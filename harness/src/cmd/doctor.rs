//! `crossscale doctor`: what this machine and this build can do; the first thing to send along
//! with a problem.

use models::fused::dispatch;
use serde::Serialize;

use super::print;
use crate::cost::{gpu_table, plan::product_rate};
use crate::device::{self, Gpu};
use crate::error::{HarnessError, Result};
use crate::ledger::provenance;

/// Arguments of `doctor`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  crossscale doctor\n  crossscale doctor --json")]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What `doctor --json` prints.
#[derive(Debug, Serialize)]
struct Report {
    version: &'static str,
    git_revision: Option<String>,
    rustc: &'static str,
    features: Vec<&'static str>,
    threads: usize,
    rayon_num_threads: Option<String>,
    cpu: Option<String>,
    cpu_features: Vec<&'static str>,
    /// Instruction set of the kernels, `CROSSSCALE_SIMD` considered.
    kernels: &'static str,
    gemm_gflops_per_thread: f64,
    memory_bytes: Option<u64>,
    memory_available_bytes: Option<u64>,
    disk_available_bytes: Option<u64>,
    cuda: Cuda,
}

#[derive(Debug, Serialize)]
struct Cuda {
    usable: bool,
    /// Why a model cannot be trained on a GPU here, in one line.
    reason: String,
    remedy: String,
    driver: Option<String>,
    devices: Vec<Device>,
}

#[derive(Debug, Serialize)]
struct Device {
    #[serde(flatten)]
    gpu: Gpu,
    /// From the data sheet, if the product is in our table.
    bf16_tflops_peak: Option<f64>,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    let report = examine();
    if args.json {
        let text = serde_json::to_string_pretty(&report)
            .map_err(|error| HarnessError::Invariant(error.to_string()))?;
        return print(&text);
    }
    print(&readable(&report))
}

fn examine() -> Report {
    let memory = crate::process::machine_memory_bytes();
    Report {
        version: env!("CARGO_PKG_VERSION"),
        git_revision: provenance::git_revision(),
        rustc: provenance::RUSTC,
        features: features(),
        threads: crate::process::cores(),
        rayon_num_threads: std::env::var("RAYON_NUM_THREADS").ok(),
        cpu: cpu_name(),
        cpu_features: cpu_features(),
        kernels: dispatch::level().name(),
        gemm_gflops_per_thread: product_rate() / 1e9,
        memory_bytes: memory.map(|(all, _)| all),
        memory_available_bytes: memory.map(|(_, available)| available),
        disk_available_bytes: disk_available_bytes(),
        cuda: cuda(),
    }
}

/// What `--version` prints: everything of the build that can decide a number.
pub(super) fn long_version() -> String {
    let unknown = || "unknown".to_owned();
    format!(
        "{}\nrevision {}\nfeatures {}\ncandle   {}\ncompiler {}",
        env!("CARGO_PKG_VERSION"),
        provenance::git_revision().unwrap_or_else(unknown),
        list(&features()),
        env!("CROSSSCALE_CANDLE"),
        provenance::RUSTC
    )
}

fn list(words: &[&str]) -> String {
    match words {
        [] => "none".to_owned(),
        words => words.join(" "),
    }
}

fn features() -> Vec<&'static str> {
    let all = [
        ("cuda", cfg!(feature = "cuda")),
        ("mpi", cfg!(feature = "mpi")),
        ("parquet", cfg!(feature = "parquet")),
    ];
    all.into_iter().filter(|(_, on)| *on).map(|(name, _)| name).collect()
}

/// Vector extensions that the kernels look for.
fn cpu_features() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    {
        let found = [
            ("avx2", std::is_x86_feature_detected!("avx2")),
            ("fma", std::is_x86_feature_detected!("fma")),
            ("avx512f", std::is_x86_feature_detected!("avx512f")),
        ];
        found.into_iter().filter(|(_, present)| *present).map(|(name, _)| name).collect()
    }
    #[cfg(not(target_arch = "x86_64"))]
    Vec::new()
}

fn cpu_name() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Free space of the current folder's file system.
fn disk_available_bytes() -> Option<u64> {
    let output = std::process::Command::new("df").args(["-Pk", "."]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let kibibytes: u64 = text.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()?;
    Some(1024 * kibibytes)
}

fn cuda() -> Cuda {
    let problem = device::cuda_problem();
    let devices: Vec<Device> = device::gpus()
        .into_iter()
        .map(|gpu| Device {
            bf16_tflops_peak: gpu_table::find(&gpu.name)
                .map(|rate| rate.bf16_flops_per_second / 1e12),
            gpu,
        })
        .collect();
    Cuda {
        // As long as no engine launches the kernels, there is always a reason.
        usable: false,
        reason: problem.to_string(),
        remedy: problem.remedy(),
        driver: driver_version(),
        devices,
    }
}

/// Version of the kernel's NVIDIA driver, whether or not this build can use it.
fn driver_version() -> Option<String> {
    let text = std::fs::read_to_string("/proc/driver/nvidia/version").ok()?;
    let words: Vec<&str> = text.lines().next()?.split_whitespace().collect();
    let is_version = |word: &&&str| word.chars().next().is_some_and(|c| c.is_ascii_digit());
    words.iter().find(is_version).map(|word| (*word).to_owned())
}

fn kernels(level: &str) -> String {
    match std::env::var(dispatch::VARIABLE) {
        Ok(asked) if !asked.is_empty() => format!("{level}, as {} asks", dispatch::VARIABLE),
        _ => level.to_owned(),
    }
}

fn readable(report: &Report) -> String {
    let gigabytes = |bytes: Option<u64>| match bytes {
        Some(bytes) => format!("{:.1} GB", bytes as f64 / 1e9),
        None => "unknown".to_owned(),
    };
    let unknown = || "unknown".to_owned();
    let mut rows = vec![
        ("version", format!("{} ({})", report.version, report.rustc)),
        ("revision", report.git_revision.clone().unwrap_or_else(unknown)),
        ("features", list(&report.features)),
        ("processor", report.cpu.clone().unwrap_or_else(unknown)),
        ("vector extensions", list(&report.cpu_features)),
        ("kernels", kernels(report.kernels)),
        ("threads", report.threads.to_string()),
        ("matrix products", format!("{:.0} GFLOP/s on one thread", report.gemm_gflops_per_thread)),
        (
            "memory",
            format!(
                "{} of {} available",
                gigabytes(report.memory_available_bytes),
                gigabytes(report.memory_bytes)
            ),
        ),
        ("disk here", format!("{} available", gigabytes(report.disk_available_bytes))),
        ("NVIDIA driver", report.cuda.driver.clone().unwrap_or_else(|| "none".to_owned())),
    ];
    rows.push(("CUDA", format!("not usable: {}", report.cuda.reason)));
    for Device { gpu, bf16_tflops_peak } in &report.cuda.devices {
        let peak = bf16_tflops_peak.map_or(String::new(), |rate| format!(", {rate:.0} TFLOP/s"));
        rows.push((
            "GPU",
            format!(
                "{} {}, capability {}, {}{peak}",
                gpu.index,
                gpu.name,
                gpu.compute_capability,
                gigabytes(Some(gpu.memory_bytes))
            ),
        ));
    }
    let lines = rows.iter().map(|(label, value)| format!("{label:<18} {value}"));
    let mut text = lines.collect::<Vec<_>>().join("\n");
    text.push_str("\nhint: ");
    text.push_str(&report.cuda.remedy);
    text
}
