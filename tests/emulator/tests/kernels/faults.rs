//! Faults planted into the committed PTX, every one of which must be named or give a wrong number.

use emulator::{Kind, Module};

use crate::head_selection::{run, wrong};
use crate::oracle::{Answer, Case, answer};
use crate::support::ptx;

/// The kernels of rank 16, the smallest.
const KERNELS: [&str; 5] = [
    "rows_forward_16",
    "columns_forward_16",
    "rows_gradient_1_16",
    "rows_gradient_2_16",
    "columns_gradient_16",
];

/// How a planted fault showed.
#[derive(Debug, PartialEq, Eq)]
enum Shown {
    As(Kind),
    WrongNumber,
    Not,
}

/// The lines of one kernel's body.
fn body(lines: &[String], kernel: &str) -> std::ops::Range<usize> {
    let head = format!(".entry {kernel}(");
    let begin = lines.iter().position(|line| line.contains(&head)).expect("the kernel is there");
    let end = lines[begin..].iter().position(|line| line.starts_with('}')).expect("its end");
    begin..begin + end
}

/// Cases with their answers: w apart from u and equal to it, a ragged last tile, padding.
fn cases() -> [(Case, Answer); 2] {
    [true, false].map(|apart| {
        let case = Case::new(70, 1, 16, apart, 11);
        let answer = answer(&case);
        (case, answer)
    })
}

/// How the first case shows the fault that is in `lines`, if any does.
fn shown(lines: &[String], cases: &[(Case, Answer)]) -> Shown {
    let module = Module::parse(&lines.join("\n")).expect("still PTX");
    for (case, answer) in cases {
        match run(&module, case) {
            Err(fault) => return Shown::As(fault.kind),
            Ok(run) if wrong(&run, answer).is_some() => return Shown::WrongNumber,
            Ok(_) => (),
        }
    }
    Shown::Not
}

/// Replaces, one at a time, every line of all kernels that `plant` changes; tells how each showed.
fn planted(plant: impl Fn(&str) -> Option<String>) -> Vec<(String, Shown)> {
    let lines: Vec<String> = ptx("head_selection").lines().map(str::to_owned).collect();
    let cases = cases();
    let mut found = Vec::new();
    for kernel in KERNELS {
        let before = found.len();
        for at in body(&lines, kernel) {
            if let Some(changed) = plant(&lines[at]) {
                let mut planted = lines.clone();
                let text = format!("{kernel}: {}", lines[at].trim());
                planted[at] = changed;
                found.push((text, shown(&planted, &cases)));
            }
        }
        assert!(found.len() > before, "nothing was planted in {kernel}");
    }
    found
}

fn expect(found: &[(String, Shown)], right: impl Fn(&Shown) -> bool) {
    let wrong: Vec<String> = found
        .iter()
        .filter(|(_, shown)| !right(shown))
        .map(|(text, shown)| format!("{text}: {shown:?}"))
        .collect();
    assert!(wrong.is_empty(), "of {} faults: {}", found.len(), wrong.join("\n"));
}

#[test]
fn invariant_every_missing_barrier_is_named() {
    let found = planted(|line| line.contains("bar.sync").then(String::new));
    // Without it a copy is seen by other threads before they met, or words by nobody.
    expect(&found, |shown| {
        matches!(shown, Shown::As(Kind::SharedRace | Kind::CopyUnderWay | Kind::Unwritten))
    });
}

#[test]
fn invariant_every_missing_wait_is_named() {
    let found = planted(|line| line.contains("cp.async.wait_group").then(String::new));
    expect(&found, |shown| matches!(shown, Shown::As(Kind::CopyUnderWay | Kind::CopyAbandoned)));
}

#[test]
fn invariant_every_store_past_the_end_is_named() {
    let found = planted(|line| {
        let plain = line.contains("st.global") && !line.contains('+');
        plain.then(|| line.replacen(']', "+1048576]", 1))
    });
    expect(&found, |shown| *shown == Shown::As(Kind::OutOfBounds));
}

#[test]
fn invariant_every_forgotten_store_is_named() {
    let found = planted(|line| line.contains("st.global").then(String::new));
    expect(&found, |shown| *shown == Shown::As(Kind::Unwritten));
}

/// Rows g and g + 8 of a left operand change places.
fn with_swapped_fragment(line: &str) -> Option<String> {
    let (_, operands) = line.split_once("mma.sync")?.1.split_once('{')?;
    let inside = operands.split('{').nth(1)?.split('}').next()?;
    let [a, b, c, d] = inside.split(',').collect::<Vec<_>>()[..] else { return None };
    Some(line.replacen(inside, &[b, a, d, c].join(","), 1))
}

#[test]
fn invariant_every_swapped_fragment_gives_a_wrong_number() {
    // One product in five: they are alike, and there are hundreds.
    let count = std::cell::Cell::new(0);
    let found = planted(|line| {
        let changed = with_swapped_fragment(line)?;
        count.set(count.get() + 1);
        (count.get() % 5 == 1).then_some(changed)
    });
    expect(&found, |shown| *shown == Shown::WrongNumber);
}

/// Every comparison of a kind in a kernel at once, as a wrong condition in the source would change
/// them.
fn with_changed_tests(
    lines: &[String],
    kernel: &str,
    change: impl Fn(&str) -> Option<String>,
) -> Option<Vec<String>> {
    let mut changed = lines.to_vec();
    let mut any = false;
    for at in body(lines, kernel) {
        if let Some(line) = change(&lines[at]) {
            changed[at] = line;
            any = true;
        }
    }
    any.then_some(changed)
}

/// Applies each change to each kernel that has such comparisons.
fn with_each_change(
    changes: &[(&str, &str)],
    applies: impl Fn(&str) -> bool,
) -> Vec<(String, Shown)> {
    let lines: Vec<String> = ptx("head_selection").lines().map(str::to_owned).collect();
    let (cases, mut found) = (cases(), Vec::new());
    for kernel in KERNELS {
        let before = found.len();
        for (from, to) in changes {
            let change = |line: &str| {
                (line.contains(from) && applies(line)).then(|| line.replacen(from, to, 1))
            };
            if let Some(changed) = with_changed_tests(&lines, kernel, change) {
                found.push((format!("{kernel}: {from}"), shown(&changed, &cases)));
            }
        }
        assert!(found.len() > before, "nothing was planted in {kernel}");
    }
    found
}

#[test]
fn invariant_every_bound_off_by_one_is_named() {
    let changes = [("setp.lt.s32", "setp.le.s32"), ("setp.ge.s32", "setp.gt.s32")];
    let found = with_each_change(&changes, |_| true);
    expect(&found, |shown| *shown != Shown::Not);
}

#[test]
fn invariant_an_allowed_diagonal_gives_a_wrong_number() {
    // Comparisons of two registers for equality: i and j. With a number: remainders of loops.
    let of_registers = |line: &str| line.matches("%r").count() == 2;
    let changes = [("setp.eq.s32", "setp.ne.s32"), ("setp.ne.s32", "setp.eq.s32")];
    let found = with_each_change(&changes, of_registers);
    expect(&found, |shown| *shown == Shown::WrongNumber);
}
