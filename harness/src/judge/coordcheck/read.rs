//! From rows, long or wide, to sites.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::super::cells::{self, Value};
use super::super::names::{LABEL, Mapping, SEED, STEP, WIDTH, Wanted, folded};
use super::super::notes::Notes;
use super::super::runs::{Collector, Names, Seeds};
use super::super::table::{Reader, unreadable};
use super::{Activations, Question, Site, roles};
use crate::error::Result;

/// The thing that was measured.
const SITE: Wanted = Wanted {
    name: "site",
    others: &["module", "module_name", "layer_name", "layer", "activation", "tensor", "name"],
};
const ROLE: Wanted = Wanted { name: "role", others: &[] };
const QUANTITY: Wanted = Wanted { name: "quantity", others: &["kind", "what"] };
const EXPECTED: Wanted =
    Wanted { name: "expected", others: &["expected_slope", "expected_exponent"] };
const ITERATION: Wanted = Wanted { name: "iter", others: &[] };
const RATE_FACTOR: Wanted = Wanted { name: "learning_rate_factor", others: &[] };
/// A size, the most telling first.
const STATISTIC: Wanted = Wanted {
    name: "statistic",
    others: &[
        "l1",
        "abs_mean",
        "act_abs_mean",
        "mean_abs",
        "rms",
        "l2",
        "norm",
        "std",
        "value",
        "mean",
    ],
};
const WANTED: [Wanted; 10] =
    [LABEL, SITE, WIDTH, STEP, SEED, ROLE, QUANTITY, EXPECTED, ITERATION, STATISTIC];
/// Ending of the columns of nanoGPT-mup's logs.
const WIDE: &str = "_act_abs_mean";
/// Kinds of our own rows that have the exponent 0 of activations.
const OWN_KINDS: [&str; 4] = ["act", "act_delta", "pre_softmax", "simplex"];

/// What rows are collected into.
struct Gathered {
    sites: Names,
    expected: BTreeMap<u32, f64>,
    labels: Names,
    seeds: Seeds,
    values: Collector<(u32, u64, u32)>,
    widths: Vec<u64>,
    statistic: String,
    seeded: bool,
    notes: Notes,
}

/// Reads the table at `path`, or every `….csv` below a folder whose path says `width` and a number
/// (and `seed` and a number), as nanoGPT-mup writes them.
///
/// # Errors
/// A file that is no such table, or of which nothing can be used.
pub fn read(path: &Path, question: &Question) -> Result<Activations> {
    let files = if path.is_dir() { logs_below(path)? } else { vec![path.to_owned()] };
    let seeded = files.len() > 1 || {
        let reader = Reader::open(path, &question.selection)?;
        reader.find(&SEED, &question.mapping)?.is_some()
    };
    let mut gathered = Gathered {
        sites: Names::default(),
        expected: BTreeMap::new(),
        labels: Names::default(),
        seeds: Seeds::default(),
        values: Collector::new(seeded),
        widths: Vec::new(),
        statistic: String::new(),
        seeded,
        notes: Notes::default(),
    };
    for file in &files {
        gathered.add(file, question)?;
    }
    gathered.finish(path)
}

/// CSV files below `folder` that are of one width each.
fn logs_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        let entries = std::fs::read_dir(&folder)
            .map_err(|error| unreadable(&folder, error, "give a folder that can be read"))?;
        for entry in entries.flatten() {
            let kind = entry.file_type();
            if kind.as_ref().is_ok_and(std::fs::FileType::is_dir) {
                open.push(entry.path());
            } else if entry.path().extension().is_some_and(|end| end == "csv") {
                found.push(entry.path());
            }
        }
    }
    found.retain(|path| after(path, "width").is_some());
    found.sort();
    if found.is_empty() {
        return Err(unreadable(
            folder,
            "no CSV below it has a width in its path",
            "name folders as width256_seed1, or give one table with a column width",
        ));
    }
    Ok(found)
}

/// The number after `word` in a path.
fn after(path: &Path, word: &str) -> Option<u64> {
    let text = path.to_string_lossy().to_lowercase();
    let rest = &text[text.rfind(word)? + word.len()..];
    let rest = rest.trim_start_matches(['_', '-', '=']);
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// Places of the columns of one file.
struct Columns {
    label: Option<usize>,
    width: Option<usize>,
    step: Option<usize>,
    seed: Option<usize>,
    site: Option<usize>,
    role: Option<usize>,
    quantity: Option<usize>,
    expected: Option<usize>,
    more: Vec<usize>,
    /// Names of sites and places of their values; a long table has one without a name.
    values: Vec<(Option<String>, usize)>,
}

impl Columns {
    fn new(reader: &Reader, question: &Question) -> Result<Self> {
        let mapping = &question.mapping;
        mapping.require_known(&WANTED)?;
        let find = |wanted: &Wanted| reader.find(wanted, mapping);
        let (mut label, mut site) = (find(&LABEL)?, find(&SITE)?);
        // `name` alone names the site; a label and a site are never one column.
        if label == site {
            label = None;
        }
        let wide: Vec<(Option<String>, usize)> = reader
            .header()
            .iter()
            .enumerate()
            .filter_map(|(place, name)| {
                let stem = folded(name);
                Some((Some(stem.strip_suffix(WIDE)?.to_owned()), place))
            })
            .collect();
        let values = if wide.is_empty() {
            let asked = question.statistic.as_ref();
            let asked =
                asked.map(|name| Mapping::parse(&[format!("statistic={name}")])).transpose()?;
            let place = reader.find(&STATISTIC, asked.as_ref().unwrap_or(mapping))?;
            if site.is_none() {
                return Err(reader.no_column("module"));
            }
            vec![(None, place.ok_or_else(|| reader.no_column("l1"))?)]
        } else {
            site = None;
            wide
        };
        let step = find(&STEP)?;
        // nanoGPT-mup calls its steps `iter`, this program's rows the iteration of a site.
        let iteration = find(&ITERATION)?.filter(|&place| Some(place) != step);
        let more = [iteration, find(&RATE_FACTOR)?].into_iter().flatten().collect();
        Ok(Self {
            label,
            width: find(&WIDTH)?,
            step,
            seed: find(&SEED)?,
            site,
            role: find(&ROLE)?,
            quantity: find(&QUANTITY)?,
            expected: find(&EXPECTED)?,
            more,
            values,
        })
    }
}

impl Gathered {
    fn add(&mut self, path: &Path, question: &Question) -> Result<()> {
        let mut reader = Reader::open(path, &question.selection)?;
        let columns = Columns::new(&reader, question)?;
        let named = after(path, "width");
        if columns.width.is_none() && named.is_none() {
            return Err(reader.no_column(WIDTH.name));
        }
        self.statistic = reader.header()[columns.values[0].1].clone();
        while reader.advance(&mut self.notes)? {
            let line = reader.line();
            let width = columns.width.map_or(named, |place| cells::count(reader.text(place)));
            let step = columns.step.map_or(Some(0), |place| {
                let step = cells::number(reader.text(place))?;
                (step >= 0.0 && step.fract() == 0.0 && step < 9e15).then_some(step as u64)
            });
            let (Some(width), Some(step)) = (width, step) else {
                let reason = "their width is no positive whole number, or their step none";
                self.notes.leave_out(reason, line);
                continue;
            };
            let Some(expected) = self.expectation(&reader, &columns, line) else { continue };
            let text = columns.seed.map(|place| reader.text(place));
            let seed = match text {
                Some(text) => self.seeds.number(text),
                None => after(path, "seed").unwrap_or(0),
            };
            let place = self.widths.iter().position(|&known| known == width);
            let width = place.unwrap_or_else(|| {
                self.widths.push(width);
                self.widths.len() - 1
            });
            for (name, place) in &columns.values {
                let value = match cells::value(reader.text(*place)) {
                    Value::Finite(value) => Some(value.abs()),
                    Value::Diverged => None,
                    Value::Absent => continue,
                    Value::Unreadable => {
                        self.notes.leave_out("their statistic is no number", line);
                        continue;
                    }
                };
                let site = self.site(&reader, &columns, name.as_deref());
                self.expected.entry(site).or_insert(expected);
                self.values.push((site, step, width as u32), seed, 0.0, value, line);
            }
        }
        Ok(())
    }

    /// The exponent expected of the current row; `None` if the row is left out.
    fn expectation(&mut self, reader: &Reader, columns: &Columns, line: u64) -> Option<f64> {
        let text = |place: Option<usize>| place.map_or("", |place| reader.text(place));
        let quantity = text(columns.quantity);
        let given = text(columns.expected);
        if !given.is_empty() {
            let number = cells::number(given);
            if number.is_none() {
                self.notes.leave_out("their expected slope is no number", line);
            }
            return number;
        }
        let role = text(columns.role);
        if role.is_empty() && !quantity.is_empty() && !OWN_KINDS.contains(&quantity) {
            let activation = ["activation", "output"].contains(&quantity.to_lowercase().as_str());
            if !activation {
                let reason =
                    "they are no activations and name no role: nothing is expected of them";
                self.notes.leave_out(reason, line);
                return None;
            }
        }
        let found = roles::expected(role, quantity);
        if found.is_none() {
            self.notes.leave_out("their role or quantity is not known", line);
        }
        found
    }

    /// The number of the current row's site.
    fn site(&mut self, reader: &Reader, columns: &Columns, name: Option<&str>) -> u32 {
        let mut parts = Vec::new();
        if let Some(place) = columns.label {
            let label = reader.text(place);
            self.labels.number(label);
            parts.push(format!("{label}: "));
        } else {
            parts.push(String::new());
        }
        let text = columns.site.map_or("", |place| reader.text(place));
        let site = name.unwrap_or(if text.is_empty() { "(whole model)" } else { text });
        parts.push(site.to_owned());
        let quantity = columns.quantity.map_or("", |place| reader.text(place));
        for more in std::iter::once(quantity).chain(columns.more.iter().map(|&p| reader.text(p))) {
            if !more.is_empty() {
                parts.push(format!(" {more}"));
            }
        }
        self.sites.number(&parts.concat())
    }

    fn finish(mut self, path: &Path) -> Result<Activations> {
        if self.statistic == "mean" {
            self.notes.remark("the statistic is 'mean': sizes are its absolute values");
        }
        let mut sites: BTreeMap<u32, Vec<_>> = BTreeMap::new();
        for ((site, step, width), cell) in self.values.finish(&mut self.notes) {
            sites.entry(site).or_default().push((step, self.widths[width as usize], cell));
        }
        if sites.is_empty() {
            let said = self.notes.sentences().join("; ");
            let problem = format!("no row can be used: {said}");
            return Err(unreadable(path, problem, "look at that line"));
        }
        // One label says nothing that tells sites apart.
        let one_label = self.labels.all().len() < 2;
        let sites = sites.into_iter().map(|(site, mut cells)| {
            cells.sort_by_key(|cell| (cell.0, cell.1));
            let name = self.sites.text(site);
            let short =
                name.split_once(": ").filter(|_| one_label && !self.labels.all().is_empty());
            Site {
                name: short.map_or(name, |(_, rest)| rest).to_owned(),
                expected: self.expected[&site],
                cells,
            }
        });
        Ok(Activations {
            sites: sites.collect(),
            statistic: self.statistic,
            notes: self.notes,
            seeded: self.seeded,
        })
    }
}
