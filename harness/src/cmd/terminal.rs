//! Between the program and the eye: colours, widths, characters that would do something.

use std::fmt::{self, Write};

use clap::Command;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

/// Bold and red, as clap writes it; the stream drops the colours where they are not wanted.
pub(super) const ERROR: &str = "\u{1b}[1m\u{1b}[31merror:\u{1b}[0m";
/// Bold and yellow.
const WARNING: &str = "\u{1b}[1m\u{1b}[33mwarning:\u{1b}[0m";
/// Columns of `Usage: `, under which a broken line goes on.
const INDENT: usize = 7;

/// When to write colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(super) enum Colour {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Also into files and pipes.
    Always,
    /// Nowhere.
    Never,
}

impl Colour {
    /// Makes every later line keep to this.
    pub(super) fn apply(self) {
        match self {
            Self::Auto => anstream::ColorChoice::Auto,
            Self::Always => anstream::ColorChoice::Always,
            Self::Never => anstream::ColorChoice::Never,
        }
        .write_global();
    }
}

/// Warnings as lines like our errors, coloured on a terminal only.
pub(super) struct PlainWarnings;

impl<S, N> FormatEvent<S, N> for PlainWarnings
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut text = String::new();
        context.field_format().format_fields(Writer::new(&mut text), event)?;
        let word = if *event.metadata().level() == Level::ERROR { ERROR } else { WARNING };
        writeln!(writer, "{word} {}", inert(&text))
    }
}

/// `text` with every control character but line ends and tabs spelled out: names and messages from
/// somebody's file cannot move the cursor, rename the window or hide what follows.
pub(super) fn inert(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() && !matches!(letter, '\n' | '\t') {
            let _ = write!(out, "{}", letter.escape_unicode());
        } else {
            out.push(letter);
        }
    }
    out
}

/// Columns of the terminal that standard output is, if it is one.
pub(super) fn output_columns() -> Option<usize> {
    terminal_size::terminal_size_of(std::io::stdout()).map(|(width, _)| width.0.into())
}

/// `text` with lines longer than `columns` broken between words; they go on under their first word.
pub(super) fn wrapped(text: &str, columns: usize) -> String {
    let broken = |line: &str| {
        if line.chars().count() <= columns {
            return line.to_owned();
        }
        let indent = line.len() - line.trim_start().len();
        let mut lines = vec![" ".repeat(indent)];
        for word in line.split_whitespace() {
            let last = lines.last_mut().expect("there is a line");
            let length = last.chars().count();
            if length > indent && length + 1 + word.chars().count() > columns {
                lines.push(format!("{}{word}", " ".repeat(indent)));
            } else {
                let space = if length > indent { " " } else { "" };
                let _ = write!(last, "{space}{word}");
            }
        }
        lines.join("\n")
    };
    text.split('\n').map(broken).collect::<Vec<_>>().join("\n")
}

/// Columns of the terminal, else those that `COLUMNS` says.
fn columns() -> Option<usize> {
    let terminal = terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
    terminal.or_else(|| std::env::var("COLUMNS").ok()?.parse().ok())
}

/// `command` with usage lines that fit the terminal; clap breaks all lines but these.
pub(super) fn fit(command: Command) -> Command {
    let Some(columns) = columns() else { return command };
    let mut built = command.clone();
    built.build();
    fit_within(command, &mut built, columns)
}

fn fit_within(mut command: Command, built: &mut Command, columns: usize) -> Command {
    let usage = built.render_usage().to_string();
    let usage = usage.strip_prefix("Usage: ").unwrap_or(&usage).to_owned();
    if INDENT + usage.chars().count() > columns {
        command = command.override_usage(broken(&usage, columns));
    }
    for verb in built.get_subcommands_mut().filter(|verb| verb.get_name() != "help") {
        let name = verb.get_name().to_owned();
        command = command.mut_subcommand(name, |own| fit_within(own, verb, columns));
    }
    command
}

/// A usage line broken between arguments; an option keeps its value.
fn broken(usage: &str, columns: usize) -> String {
    let mut parts: Vec<String> = Vec::new();
    for word in usage.split(' ') {
        match parts.last_mut() {
            Some(last) if last.starts_with("--") && word.starts_with('<') => {
                let _ = write!(last, " {word}");
            }
            _ => parts.push(word.to_owned()),
        }
    }
    let mut lines = vec![String::new()];
    for part in parts {
        let line = lines.last_mut().expect("there is a line");
        let fits = INDENT + line.chars().count() + 1 + part.chars().count() <= columns;
        if line.is_empty() {
            *line = part;
        } else if fits {
            let _ = write!(line, " {part}");
        } else {
            lines.push(part);
        }
    }
    lines.join(&format!("\n{}", " ".repeat(INDENT)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariant_broken_usage_fits_and_loses_nothing() {
        let usage = "crossscale import [OPTIONS] --model <MODEL> --out <OUT> <FILE>";
        for columns in [30, 40, 60] {
            let text = broken(usage, columns);
            let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(words(&text), usage);
            for (index, line) in text.lines().enumerate() {
                let width = line.chars().count() + if index == 0 { INDENT } else { 0 };
                assert!(width <= columns, "{columns}: {line}");
                assert!(!line.trim_end().ends_with("--out"), "an option lost its value: {text}");
            }
        }
        assert_eq!(broken("crossscale ls", 80), "crossscale ls");
    }

    #[test]
    fn invariant_wrapped_text_fits_and_loses_nothing() {
        let text = "short  line\n  a line with an indent that is rather long\n\nunbreakable_word";
        let out = wrapped(text, 16);
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(words(&out), words(text));
        assert!(out.lines().all(|line| line.chars().count() <= 16), "{out}");
        assert!(out.starts_with("short  line\n  a line with an\n  indent"), "{out}");
        assert_eq!(wrapped(text, 100), text);
    }

    #[test]
    fn invariant_control_characters_of_a_file_reach_no_terminal() {
        let said = inert("a\u{1b}]0;title\u{7}\r\u{9b}2Jb\n\tµ–");
        assert_eq!(said, "a\\u{1b}]0;title\\u{7}\\u{d}\\u{9b}2Jb\n\tµ–");
    }
}
