//! Handing an experiment to a cluster's own scheduler.

use std::fmt::Write;
use std::path::Path;

/// What a Slurm job array asks for.
#[derive(Debug, Clone)]
pub struct SlurmJob {
    /// Name of the experiment.
    pub name: String,
    /// The definition as `reproduce --preset` takes it.
    pub definition: String,
    /// Folder of the ledger, on a file system that all nodes share.
    pub out: String,
    /// Tasks of the array: workers on one ledger.
    pub tasks: usize,
    /// Partition; `None` = the cluster's default.
    pub partition: Option<String>,
    /// Time limit of one task, as Slurm writes it.
    pub time: String,
    /// GPUs of one task.
    pub gpus: usize,
    /// Processors of one task; also its runs at a time.
    pub processors: usize,
    /// Memory of one task, as Slurm writes it; `None` = the cluster's default.
    pub memory: Option<String>,
    /// Seconds between the warning and the end of a task.
    pub grace_seconds: u64,
}

/// The batch script of `job`, to be started in `folder` with the program `program`.
///
/// Every task runs the same command; the ledger's claims divide the runs. A task that is warned
/// before its time limit or preempted saves its state, exits with 130 and is queued again.
pub fn slurm_script(job: &SlurmJob, program: &Path, folder: &Path) -> String {
    let mut text = String::from("#!/usr/bin/env bash\n");
    let mut option = |name: &str, value: &str| {
        writeln!(text, "#SBATCH --{name}={value}").expect("writing to a string cannot fail");
    };
    option("job-name", &format!("crossscale-{}", job.name));
    option("array", &format!("0-{}", job.tasks - 1));
    if let Some(partition) = &job.partition {
        option("partition", partition);
    }
    option("time", &job.time);
    option("ntasks", "1");
    option("cpus-per-task", &job.processors.to_string());
    if job.gpus > 0 {
        option("gres", &format!("gpu:{}", job.gpus));
    }
    if let Some(memory) = &job.memory {
        option("mem", memory);
    }
    option("signal", &format!("B:TERM@{}", job.grace_seconds));
    option("open-mode", "append");
    option("chdir", &folder.display().to_string());
    option("output", &format!("{}/slurm-%A_%a.log", job.out));
    text.push_str("#SBATCH --requeue\n\n");
    let command = [
        quoted(&program.display().to_string()),
        "reproduce --quiet --preset".to_owned(),
        quoted(&job.definition),
        "--out".to_owned(),
        quoted(&job.out),
        format!("--jobs {}", job.processors),
    ];
    writeln!(text, "{} &", command.join(" ")).expect("writing to a string cannot fail");
    text.push_str(
        r#"child=$!
trap 'kill -TERM "$child" 2>/dev/null' TERM
# A signal ends the first wait early; the state is saved only when the program has ended.
while true; do
  wait "$child"
  code=$?
  kill -0 "$child" 2>/dev/null || break
done
if [ "$code" -eq 130 ]; then
  scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"
fi
exit "$code"
"#,
    );
    text
}

/// `word` as one word of a shell command.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariant_the_script_is_valid_shell_whatever_the_names() {
        let job = SlurmJob {
            name: "quick".to_owned(),
            definition: "it's here.toml".to_owned(),
            out: "runs".to_owned(),
            tasks: 3,
            partition: Some("gpu".to_owned()),
            time: "1-00:00:00".to_owned(),
            gpus: 2,
            processors: 4,
            memory: None,
            grace_seconds: 90,
        };
        let script = slurm_script(&job, Path::new("/opt/cross scale/bin"), Path::new("/data"));
        for line in [
            "#SBATCH --array=0-2",
            "#SBATCH --partition=gpu",
            "#SBATCH --time=1-00:00:00",
            "#SBATCH --gres=gpu:2",
            "#SBATCH --signal=B:TERM@90",
            "#SBATCH --requeue",
            r"'/opt/cross scale/bin' reproduce --quiet --preset 'it'\''s here.toml' --out runs",
        ] {
            assert!(script.contains(line), "no {line} in\n{script}");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("job.sh");
        std::fs::write(&path, script).unwrap();
        let checked = std::process::Command::new("bash").arg("-n").arg(&path).status();
        assert!(checked.is_ok_and(|status| status.success()));
    }
}
