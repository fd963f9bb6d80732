//! Handing an experiment to a cluster's own scheduler.

use std::fmt::Write;
use std::path::Path;

use crate::error::{HarnessError, Result};

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
    /// Processors of one task.
    pub processors: usize,
    /// Runs of one task at a time.
    pub jobs: usize,
    /// Options that change the experiment, quoted, with a space before each.
    pub changes: String,
    /// Memory of one task, as Slurm writes it; `None` = the cluster's default.
    pub memory: Option<String>,
    /// Seconds between the warning and the end of a task.
    pub grace_seconds: u64,
}

/// The batch script of `job`, to be started in `folder` with the program `program`.
///
/// Every task runs the same command; the ledger's claims divide the runs. A task that is warned
/// before its time limit or preempted saves its state, exits with 130 and is queued again.
///
/// # Errors
/// If a value cannot be written as a Slurm directive, see [`directive`].
pub fn slurm_script(job: &SlurmJob, program: &Path, folder: &Path) -> Result<String> {
    let (program, folder) = (utf8(program)?, utf8(folder)?);
    let mut text = String::from("#!/usr/bin/env bash\n");
    let mut refused = None;
    let mut option = |name: &str, value: &str| match directive(name, value) {
        Ok(value) => {
            writeln!(text, "#SBATCH --{name}={value}").expect("writing to a string cannot fail");
        }
        Err(error) => refused = refused.take().or(Some(error)),
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
    option("chdir", folder);
    // In the name of a log, and nowhere else, % begins a pattern and %% is one %.
    option("output", &format!("{}/slurm-%A_%a.log", job.out.replace('%', "%%")));
    if let Some(error) = refused {
        return Err(error);
    }
    text.push_str("#SBATCH --requeue\n\n");
    let command = [
        quoted(program),
        "reproduce --quiet --preset".to_owned(),
        quoted(&job.definition),
        "--out".to_owned(),
        quoted(&job.out),
        format!("--jobs {}", job.jobs),
    ];
    writeln!(text, "{}{} &", command.join(" "), job.changes)
        .expect("writing to a string cannot fail");
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
    Ok(text)
}

/// `value` of the option `name` as one word of a `#SBATCH` line.
///
/// Slurm's own parser (`get_argument` of `src/sbatch/opt.c`) reads these lines, not the shell:
/// white space ends a word, `#` begins a comment, `'` and `"` are quotes inside which only the same
/// quote is special, a backslash takes the next character as it is, and a line has no continuation.
///
/// # Errors
/// [`HarnessError::Config`] for what no quotes can hold: control characters, backslashes (which
/// versions of Slurm read differently), both kinds of quotes at once, and an empty value.
fn directive(name: &str, value: &str) -> Result<String> {
    let refuse = |why: &str| {
        HarnessError::config(
            format!("--{name}={value:?} cannot be written into a Slurm script: {why}"),
            "use letters, digits and ./_-+=:,@ in the names of folders and in the options of \
             launch slurm",
        )
    };
    if value.is_empty() {
        return Err(refuse("it is empty"));
    }
    if value.chars().any(char::is_control) {
        return Err(refuse("it holds a control character"));
    }
    if value.contains('\\') {
        return Err(refuse("it holds a backslash"));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "./_-+=:,@%".contains(c);
    if value.chars().all(plain) {
        return Ok(value.to_owned());
    }
    match (value.contains('"'), value.contains('\'')) {
        (false, _) => Ok(format!("\"{value}\"")),
        (true, false) => Ok(format!("'{value}'")),
        (true, true) => Err(refuse("it holds both kinds of quotes")),
    }
}

/// `path` as text: a script is text, and another spelling would be another folder.
pub(crate) fn utf8(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| {
        HarnessError::config(
            format!("{} is not UTF-8 and cannot be written into a script", path.display()),
            "give the folder a name in UTF-8",
        )
    })
}

/// `path` as an argument that is never read as an option.
pub(crate) fn operand(path: &str) -> String {
    if path.starts_with('-') { format!("./{path}") } else { path.to_owned() }
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

    fn job() -> SlurmJob {
        SlurmJob {
            name: "quick".to_owned(),
            definition: "it's here.toml".to_owned(),
            out: "runs".to_owned(),
            tasks: 3,
            partition: Some("gpu".to_owned()),
            time: "1-00:00:00".to_owned(),
            gpus: 2,
            processors: 4,
            jobs: 1,
            changes: " --text 'my text' --set train.steps=7".to_owned(),
            memory: None,
            grace_seconds: 90,
        }
    }

    fn script(job: &SlurmJob, folder: &str) -> Result<String> {
        slurm_script(job, Path::new("/opt/cross scale/bin"), Path::new(folder))
    }

    /// The options of a script as Slurm's parser sees them (`get_argument` of `src/sbatch/opt.c`);
    /// `None` for what ends sbatch.
    fn as_slurm_reads(script: &str) -> Option<Vec<String>> {
        let mut words = Vec::new();
        for line in script.lines().filter_map(|line| line.strip_prefix("#SBATCH")) {
            let (mut word, mut quote, mut some, mut escape) = (String::new(), None, false, false);
            for c in line.chars() {
                match (quote, c) {
                    _ if escape => {
                        word.push(c);
                        escape = false;
                    }
                    (_, '\\') => escape = true,
                    (Some(open), c) if c == open => quote = None,
                    (None, '\'' | '"') => (quote, some) = (Some(c), true),
                    (None, '#') => break,
                    (None, c) if c.is_whitespace() => {
                        if some || !word.is_empty() {
                            words.push(std::mem::take(&mut word));
                        }
                        some = false;
                    }
                    (_, c) => word.push(c),
                }
            }
            if quote.is_some() || escape {
                return None;
            }
            words.extend((some || !word.is_empty()).then_some(word));
        }
        Some(words)
    }

    /// A file name pattern of Slurm as it is expanded for task 1 of job 7.
    fn expanded(pattern: &str) -> String {
        let mut text = String::new();
        let mut rest = pattern.chars();
        while let Some(c) = rest.next() {
            match (c, if c == '%' { rest.next() } else { None }) {
                ('%', Some('A')) => text.push('7'),
                ('%', Some('a')) => text.push('1'),
                ('%', Some('%')) => text.push('%'),
                ('%', other) => panic!("%{other:?} in {pattern}"),
                (c, _) => text.push(c),
            }
        }
        text
    }

    #[test]
    fn invariant_the_script_is_valid_shell_whatever_the_names() {
        let script = script(&job(), "/data").unwrap();
        for line in [
            "#SBATCH --array=0-2",
            "#SBATCH --partition=gpu",
            "#SBATCH --time=1-00:00:00",
            "#SBATCH --gres=gpu:2",
            "#SBATCH --signal=B:TERM@90",
            "#SBATCH --requeue",
            r"'/opt/cross scale/bin' reproduce --quiet --preset 'it'\''s here.toml' --out runs",
            "--out runs --jobs 1 --text 'my text' --set train.steps=7 &",
        ] {
            assert!(script.contains(line), "no {line} in\n{script}");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("job.sh");
        std::fs::write(&path, script).unwrap();
        let checked = std::process::Command::new("bash").arg("-n").arg(&path).status();
        assert!(checked.is_ok_and(|status| status.success()));
    }

    #[test]
    fn invariant_slurm_reads_every_value_back_as_it_was_given() {
        let odd = [
            "/data/my work",
            "/data/it's",
            "/data/a#b",
            "/d/100% \"sure\"",
            "/d/$HOME `id` ; x",
            "/d/[a]*?{b}",
            "/d/tab\u{a0}é",
            " lead",
            "trail ",
            "/d/a&b|c>d",
            "100%j",
            "%x%%A",
        ];
        for name in odd {
            for partition in ["gpu", name] {
                let mut job = job();
                (job.out, job.partition) = (name.to_owned(), Some(partition.to_owned()));
                (job.time, job.memory) = (name.to_owned(), Some(name.to_owned()));
                job.name = name.to_owned();
                let text = script(&job, name).unwrap();
                let words = as_slurm_reads(&text).unwrap_or_else(|| panic!("fatal: {text}"));
                let value = |option: &str| {
                    let option = format!("--{option}=");
                    let found: Vec<&str> =
                        words.iter().filter_map(|word| word.strip_prefix(&option)).collect();
                    assert_eq!(found.len(), 1, "{option} in {words:?}");
                    found[0].to_owned()
                };
                assert!(words.iter().all(|word| word.starts_with("--")), "{words:?}");
                assert_eq!(value("chdir"), name);
                assert_eq!(expanded(&value("output")), format!("{name}/slurm-7_1.log"));
                assert_eq!((value("time"), value("mem")), (name.to_owned(), name.to_owned()));
                assert_eq!(value("partition"), partition);
                assert_eq!(value("job-name"), format!("crossscale-{name}"));
            }
        }
    }

    #[test]
    fn invariant_what_no_quotes_can_hold_is_refused() {
        for name in ["a\nb", "a\rb", "a\\b", "it's \"so\"", "a\u{1b}b", "a\0b"] {
            let cases = [
                SlurmJob { out: name.to_owned(), ..job() },
                SlurmJob { partition: Some(name.to_owned()), ..job() },
                SlurmJob { time: name.to_owned(), ..job() },
                SlurmJob { memory: Some(name.to_owned()), ..job() },
                SlurmJob { name: name.to_owned(), ..job() },
            ];
            for case in cases {
                let error = script(&case, "/data").unwrap_err();
                assert_eq!(error.exit_code(), 2, "{error}");
                assert!(error.to_string().contains("\nhint: use letters"), "{error}");
            }
            assert!(script(&job(), name).is_err(), "{name:?}");
        }
        let empty = SlurmJob { partition: Some(String::new()), ..job() };
        assert!(script(&empty, "/data").is_err(), "an empty value takes the next word");
    }
}
