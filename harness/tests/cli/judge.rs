//! `judge`, `explain --shapes` and `runs` on tables that nobody of this program wrote.

use std::fmt::Write as _;

use super::*;

/// Losses of bowls whose best rate moves by a slope per octave of width.
fn sweep(parametrizations: &[(&str, f64)], seeds: u64) -> String {
    let mut text = "parametrization,width,learning_rate,loss,seed\n".to_owned();
    for (name, slope) in parametrizations {
        for (place, width) in [64, 128, 256, 512].into_iter().enumerate() {
            for octave in -13..=-3 {
                for seed in 0..seeds {
                    let centre = -8.3 + slope * place as f64;
                    // Noise that repeats: small, without mean, other at every rate and seed.
                    let noise = 0.002 * (f64::from(octave * 7 + width) + 3.1 * seed as f64).sin();
                    let loss = 3.5 + 0.03 * (f64::from(octave) - centre).powi(2) + noise;
                    let rate = f64::from(octave).exp2();
                    let _ = writeln!(text, "{name},{width},{rate},{loss},{seed}");
                }
            }
        }
    }
    text
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).unwrap();
}

#[test]
fn cli_judge_transfer_needs_a_control_that_fails() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), "both.csv", &sweep(&[("mup", 0.0), ("standard", -1.0)], 3));
    write(folder.path(), "alone.csv", &sweep(&[("mup", 0.0)], 3));
    write(folder.path(), "flat.csv", &sweep(&[("mup", 0.0), ("other", 0.0)], 3));
    let verdicts = |file: &str| {
        let found = json(&crossscale(folder.path(), &["judge", "transfer", file, "--json"]));
        let rows = found.as_array().unwrap().clone();
        rows.iter().map(|row| row["verdict"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(verdicts("both.csv"), ["supported", "contradicted"]);
    assert_eq!(verdicts("alone.csv"), ["inconclusive"]);
    assert_eq!(verdicts("flat.csv"), ["inconclusive", "inconclusive"]);
    let arguments = ["judge", "transfer", "both.csv", "--json", "--out", "judged"];
    let found = json(&crossscale(folder.path(), &arguments));
    let slope = |row: usize, key: &str| found[row][key].as_f64().unwrap();
    assert!((slope(1, "slope") + 1.0).abs() < 0.02, "{found}");
    assert!(slope(1, "slope_low") < -1.0 && slope(1, "slope_high") > -1.02, "{found}");
    let optimum = &found[0]["optima"][3];
    assert_eq!((&optimum["width"], &optimum["bracketed"]), (&512.into(), &true.into()));
    let rate = optimum["learning_rate"].as_f64().unwrap().log2();
    assert!((rate + 8.3).abs() < 0.1, "{rate}");
    // The figure says what the verdict says.
    let figure = folder.path().join("judged/learning_rate_transfer.svg");
    let figure = std::fs::read_to_string(figure).unwrap();
    assert!(figure.contains("mup: supported") && figure.contains("standard: contradicted"));
    let report = std::fs::read_to_string(folder.path().join("judged/report.md")).unwrap();
    assert!(report.contains("supported") && report.contains("±0.1"), "{report}");
}

#[test]
fn cli_judge_transfer_reads_what_people_write() {
    let folder = TempDir::new().unwrap();
    let plain = sweep(&[("mup", 0.0), ("sp", -1.0)], 2);
    let expected = {
        write(folder.path(), "plain.csv", &plain);
        stdout(&crossscale(folder.path(), &["judge", "transfer", "plain.csv", "--json"]))
    };
    let rows = || plain.lines().skip(1).map(|line| line.split(',').collect::<Vec<_>>());
    let mut european = "\u{feff};scheme;d_model;lr;val_loss;seed\r\n".to_owned();
    let mut logarithms = "seed\tlog2lr\twidth\tparam\tloss\n".to_owned();
    for (index, row) in rows().enumerate() {
        let comma = |text: &str| text.replace('.', ",");
        let (rate, loss) = (comma(row[2]), comma(row[3]));
        let _ = write!(european, "{index};{};{}.0;{rate};{loss};{}\r\n", row[0], row[1], row[4]);
        let log = row[2].parse::<f64>().unwrap().log2();
        let _ = writeln!(logarithms, "{}\t{log}\t{}\t{}\t{}", row[4], row[1], row[0], row[3]);
    }
    write(folder.path(), "european.csv", &european);
    write(folder.path(), "logarithms.tsv", &logarithms);
    for file in ["european.csv", "logarithms.tsv"] {
        let found = crossscale(folder.path(), &["judge", "transfer", file, "--json"]);
        assert_eq!(stdout(&found), expected, "{file}: {}", stderr(&found));
    }
    // Rows of no use are counted with their line, and change nothing.
    let bad = "mup,64,0,3,0\nmup,64,-1,3,0\nmup,x,0.1,3,0\nmup,64\nmup,64,0.5,div,0\nmup,64,1,,1\n";
    write(folder.path(), "bad.csv", &(plain.clone() + bad));
    let found = crossscale(folder.path(), &["judge", "transfer", "bad.csv"]);
    let said = stdout(&found);
    for part in ["2 rows were left out: their learning rate", "1 row was left out: their width"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let line = plain.lines().count() + 1;
    assert!(said.contains(&format!("first in line {line}")), "{said}");
}

#[test]
fn cli_judge_refuses_with_2_what_it_cannot_read() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), "empty.csv", "");
    write(folder.path(), "header.csv", "width,learning_rate,loss\n");
    write(folder.path(), "wide.csv", "wide,learning_rate,loss\n64,0.1,3\n");
    write(folder.path(), "rates.csv", "width,learning_rate,loss\n64,-1,3\n64,0,3\n");
    write(folder.path(), "mixed.csv", "width,lr,loss,depth\n64,0.1,3,2\n64,0.2,3,4\n");
    for file in ["absent.csv", "empty.csv", "header.csv", "wide.csv", "rates.csv", "mixed.csv"] {
        let found = crossscale(folder.path(), &["judge", "transfer", file, "--json"]);
        assert_eq!(found.status.code(), Some(2), "{file}: {}", stderr(&found));
        assert!(stderr(&found).contains("hint: "), "{file}: {}", stderr(&found));
        assert!(stdout(&found).is_empty(), "{file}");
    }
    write(folder.path(), "one.csv", "width,lr,loss\n64,0.1,3\n64,0.2,2.9\n64,0.4,3\n");
    let found = crossscale(folder.path(), &["judge", "transfer", "one.csv"]);
    assert_eq!(found.status.code(), Some(0));
    assert!(stdout(&found).contains("one width only"), "{}", stdout(&found));
}

#[test]
fn cli_judge_coordcheck_ends_with_10_if_a_site_grows() {
    let folder = TempDir::new().unwrap();
    let (mut good, mut bad) = (String::new(), String::new());
    for text in [&mut good, &mut bad] {
        text.push_str(",width,module,t,l1\n");
    }
    let mut index = 0;
    for seed in 0..2 {
        for width in [64, 128, 256, 512, 1024] {
            for step in 1..=3 {
                let noise = 1.0 + 0.02 * f64::from(seed * 31 + width * 7 + step).sin();
                let size = |exponent: f64| 0.7 * f64::from(width).powf(exponent) * noise;
                let early = if step == 1 { -0.5 } else { 0.0 };
                for (text, exponent) in [(&mut good, 0.0), (&mut bad, 0.5)] {
                    let _ = writeln!(text, "{index},{width},fc1,{step},{}", size(exponent));
                    let _ = writeln!(text, "{index},{width},readout,{step},{}", size(early));
                    index += 1;
                }
            }
        }
    }
    write(folder.path(), "good.csv", &good);
    write(folder.path(), "bad.csv", &bad);
    let words = |file: &str, code: i32| {
        let found = crossscale(folder.path(), &["judge", "coordcheck", file, "--json"]);
        assert_eq!(found.status.code(), Some(code), "{}", stderr(&found));
        let rows: serde_json::Value = serde_json::from_slice(&found.stdout).unwrap();
        let rows = rows.as_array().unwrap().clone();
        rows.iter().map(|row| row["verdict"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(words("good.csv", 0), ["PASS", "TRANSIENT"]);
    assert_eq!(words("bad.csv", 10), ["FAIL", "TRANSIENT"]);
    // One seed and three widths decide nothing, and that is said.
    let few: Vec<&str> = good.lines().take(19).collect();
    write(folder.path(), "few.csv", &(few.join("\n") + "\n"));
    let found = crossscale(folder.path(), &["judge", "coordcheck", "few.csv"]);
    let said = stdout(&found);
    assert!(said.contains("3 widths and 1 seed decide nothing"), "{said}");
    assert!(said.contains("0 PASS"), "{said}");
    // nanoGPT-mup: a log per run, its width and seed in the path.
    for (seed, width) in [(1, 256), (1, 512), (1, 1024), (2, 256), (2, 512), (2, 1024)] {
        let run = folder.path().join(format!("out/width{width}_depth2_seed{seed}"));
        std::fs::create_dir_all(&run).unwrap();
        let size = f64::from(width).sqrt() * (1.0 + 0.01 * f64::from(seed));
        let log = format!("iter,attn_act_abs_mean,mlp_act_abs_mean\n0,1.0,{size}\n1,1.0,{size}\n");
        std::fs::write(run.join("log.csv"), log).unwrap();
    }
    assert_eq!(words("out", 10), ["PASS", "FAIL"]);
}

#[test]
fn cli_judge_compare_pairs_by_seed() {
    let folder = TempDir::new().unwrap();
    let mut text = "model, seed, loss\n".to_owned();
    for (seed, level) in [3.1, 2.9, 3.05, 3.2, 2.95].into_iter().enumerate() {
        let wobble = 0.001 * (seed as f64).cos();
        let _ = write!(text, "A, {seed}, {}\nB, {seed}, {level}\n", level - 0.02 + wobble);
    }
    write(folder.path(), "runs.csv", &text);
    let compare = |more: &[&str]| {
        let mut arguments = vec!["judge", "compare", "runs.csv", "--json", "--candidate", "A"];
        arguments.extend(["--baseline", "B"]);
        arguments.extend(more);
        json(&crossscale(folder.path(), &arguments))
    };
    let paired = compare(&[]);
    assert_eq!(paired["verdict"], "better");
    assert!((paired["difference"].as_f64().unwrap() + 0.02).abs() < 0.002, "{paired}");
    for key in ["low", "high", "p"] {
        assert!(paired[key].is_f64(), "{key}: {paired}");
    }
    assert_eq!(compare(&["--unpaired"])["verdict"], "inconclusive");
    let unknown = ["judge", "compare", "runs.csv", "--candidate", "C", "--baseline", "B"];
    let found = crossscale(folder.path(), &unknown);
    assert_eq!(found.status.code(), Some(2));
    assert!(stderr(&found).contains("labels are A, B"), "{}", stderr(&found));
}

#[test]
fn cli_judge_scaling_and_collapse_know_what_they_cannot_tell() {
    let folder = TempDir::new().unwrap();
    let (mut ladder, mut curves) = ("params,loss,seed\n".to_owned(), String::new());
    curves.push_str("width,step,loss,seed\n");
    for seed in 0..3 {
        for place in 0..7 {
            let size = 1e6 * f64::from(1 << place);
            let noise = 0.001 * f64::from(seed * 5 + place).sin();
            let _ = writeln!(ladder, "{size},{},{seed}", 20.0 * size.powf(-0.12) + noise);
        }
        for (place, width) in [64, 128, 256].into_iter().enumerate() {
            for step in 1..=20 {
                let share = f64::from(step) / 20.0;
                let noise = 0.004 * f64::from(width + step * 3 + seed * 11).sin();
                let loss = 1.5 + 2.0 / (1.0 + place as f64) * (share.powf(-0.4) + noise);
                let _ = writeln!(curves, "{width},{},{loss},{seed}", step * width);
            }
        }
    }
    write(folder.path(), "ladder.csv", &ladder);
    write(folder.path(), "curves.csv", &curves);
    let found = json(&crossscale(folder.path(), &["judge", "scaling", "ladder.csv", "--json"]));
    assert_eq!((&found[0]["verdict"], &found[0]["separable"]), (&"predicts".into(), &false.into()));
    let law = &found[0]["laws"][0];
    let (low, high) = (law["exponent_low"].as_f64(), law["exponent_high"].as_f64());
    assert!(low.unwrap() < 0.12 && high.unwrap() > 0.12, "{found}");
    let warning = found[0]["warnings"][0].as_str().unwrap();
    assert!(warning.contains("cannot tell"), "{warning}");
    let found = json(&crossscale(folder.path(), &["judge", "collapse", "curves.csv", "--json"]));
    assert_eq!(found["verdict"], "collapses", "{found}");
    let one = curves.lines().filter(|line| !line.ends_with(",1") && !line.ends_with(",2"));
    write(folder.path(), "one.csv", &one.collect::<Vec<_>>().join("\n"));
    let found = crossscale(folder.path(), &["judge", "collapse", "one.csv"]);
    assert!(stdout(&found).contains("one seed per size"), "{}", stdout(&found));
}

/// Models that look to the printed modules like those of PyTorch.
const STAND_IN: &str = r#"
import groups, labels


class Tensor:
    def normal_(self, mean, deviation):
        self.deviation = deviation

    data = property(lambda self: self)


class Model:
    tensors = {name: Tensor() for name in ("a.weight", "b.weight", "b.bias", "out.weight")}

    def named_parameters(self):
        return self.tensors.items()


model = Model()
found = groups.parameter_groups(model, 0.01, 0.1, 1e-8)
rates = {id(p): (g["lr"], g["weight_decay"], g["eps"]) for g in found for p in g["params"]}
for name, tensor in model.named_parameters():
    print(name, *rates[id(tensor)])
groups.initialise(model, {"b.weight": 0.02})
print(model.tensors["b.weight"].deviation)
print(labels.labels({"a": {"weight": 0}, "b": {"weight": 0, "bias": 0}, "out": {"weight": 0}}))
del model.tensors["a.weight"]
try:
    groups.parameter_groups(model, 0.01)
except KeyError as error:
    print(error)
"#;

#[test]
fn cli_explain_shapes_prints_python_that_runs() {
    let folder = TempDir::new().unwrap();
    let shapes = "name,shape,base_shape,role\na.weight,\"(256, 784)\",\"(64, 784)\",\n\
                  b.weight,256x256,64x64,\nb.bias,256,64,\nout.weight,10x256,10x64,\n";
    write(folder.path(), "asked.csv", shapes);
    let asked = crossscale(folder.path(), &["explain", "--shapes", "asked.csv", "--as", "torch"]);
    assert_eq!(asked.status.code(), Some(2));
    assert!(stderr(&asked).contains("out.weight") && stderr(&asked).contains("role"));
    write(folder.path(), "shapes.csv", &shapes.replace("10x64,", "10x64,output"));
    let explained = |form: &[&str]| {
        let arguments = [&["explain", "--shapes", "shapes.csv"], form].concat();
        let found = crossscale(folder.path(), &arguments);
        assert_eq!(found.status.code(), Some(0), "{}", stderr(&found));
        stdout(&found)
    };
    let table: serde_json::Value = serde_json::from_str(&explained(&["--json"])).unwrap();
    let words: Vec<&str> =
        table.as_array().unwrap().iter().filter_map(|r| r["role"].as_str()).collect();
    assert_eq!(words, ["input", "hidden", "bias", "output"]);
    assert_eq!(
        (&table[1]["lr_multiplier"], &table[3]["forward_multiplier"]),
        (&0.25.into(), &0.25.into())
    );
    write(folder.path(), "groups.py", &explained(&["--as", "torch"]));
    write(folder.path(), "labels.py", &explained(&["--as", "optax", "--axes", "out-in"]));
    write(folder.path(), "run.py", STAND_IN);
    let ran = Command::new("python3").arg("run.py").current_dir(folder.path()).output();
    // A machine without Python cannot run what is printed.
    let Ok(ran) = ran else { return };
    let said = stdout(&ran);
    assert!(ran.status.success(), "{}", stderr(&ran));
    for line in ["b.weight 0.0025 0.4 2.5e-09", "out.weight 0.01 0.1 2.5e-09", "0.01\n"] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert!(said.contains("'out': {'weight': 'group"), "{said}");
    assert!(said.contains("not in the model: ['a.weight']"), "{said}");
}

#[test]
fn cli_runs_of_the_ledger_read_like_any_table() {
    let folder = TempDir::new().unwrap();
    let ledger = Path::new(env!("CARGO_MANIFEST_DIR")).join("../reports/published/claims/ledger");
    let ledger = ledger.to_str().unwrap();
    let table = crossscale(folder.path(), &["runs", ledger, "--csv"]);
    assert_eq!(table.status.code(), Some(0), "{}", stderr(&table));
    write(folder.path(), "runs.csv", &stdout(&table));
    let arguments = [
        "judge",
        "transfer",
        "runs.csv",
        "--shared-base",
        "--json",
        "--where",
        "family=pt",
        "--where",
        "config.model.pt.lambda_h=0.15",
        "--where",
        "config.model.pt.rope=exact",
        "--where",
        "config.train.steps=2000",
        "--where",
        "config.parametrization.base_width=32",
    ];
    let found = json(&crossscale(folder.path(), &arguments));
    // The slopes of the published report, from the same runs.
    let published = include_str!("../../../reports/published/claims/transfer_slopes.csv");
    for row in published.lines().skip(1) {
        let fields: Vec<&str> = row.split(',').collect();
        let (name, slope) = (fields[0], fields[1].parse::<f64>().unwrap());
        let own = found.as_array().unwrap().iter().find(|row| row["parametrization"] == name);
        let own = own.unwrap_or_else(|| panic!("{name}: {found}"))["slope"].as_f64().unwrap();
        assert!((own - slope).abs() < 1e-6, "{name}: {own} {slope}");
    }
    let curves = stdout(&crossscale(folder.path(), &["runs", ledger, "--curves"]));
    assert!(curves.starts_with("run,family,parametrization,width"), "{}", &curves[..80]);
}
