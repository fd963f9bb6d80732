//! Files of experiments: what they are based on, what their words say, what is refused.

use super::read::Changes;
use super::*;
use crate::claims::judged_by;

fn changed(name: &str, sets: &[&str]) -> Result<Experiment> {
    let sets = sets.iter().map(|set| (*set).to_owned()).collect();
    Experiment::find(name, &Changes { sets, ..Changes::default() })
}

#[test]
fn invariant_an_experiment_written_out_is_read_back_as_it_was() {
    for name in registry::registered().into_iter().chain(registry::presets()) {
        let experiment = experiment(name);
        let text = experiment.to_toml().unwrap();
        assert_eq!(Experiment::parse(name, &text).unwrap(), experiment, "{name}");
    }
}

/// A verdict belongs to what was registered: a changed copy has none, whatever it is called, and
/// the same protocol has it under any name.
#[test]
fn invariant_verdicts_belong_to_protocols_and_never_to_names() {
    let ids = |experiment: &Experiment| -> Vec<String> {
        judged_by(experiment).unwrap().into_iter().map(|claim| claim.id).collect()
    };
    assert_eq!(ids(&experiment("rope")), ["C5"]);
    for set in [
        "train.steps=10",
        "seeds=3",
        "pair.candidate.model.iterations=2",
        "search_rule.points_max=3",
        "data.length=16",
        "path=reference",
    ] {
        let own = changed("rope", &[set]).unwrap();
        assert_eq!(own.name, "rope");
        assert!(ids(&own).is_empty(), "{set}");
    }
    let renamed = changed("rope", &["name=mine", "question=Mine?"]).unwrap();
    assert_eq!(ids(&renamed), ["C5"]);
    assert_eq!(ids(&experiment("small")), ids(&experiment("ladder-small")));
    assert!(ids(&experiment("quick")).is_empty());
    // The same text elsewhere is the same text.
    let elsewhere = changed("penn-treebank", &["data.tokens=elsewhere"]).unwrap();
    assert_eq!(ids(&elsewhere), ["C8"]);
    let other = changed("penn-treebank", &["text.fingerprint=other"]).unwrap();
    assert!(ids(&other).is_empty());
}

/// What a report says of an experiment's numbers is made of them, so that a copy cannot lie.
#[test]
fn invariant_words_about_settings_follow_the_settings() {
    let words = |experiment: &Experiment| {
        format!("{}; {}", experiment.fixed().join("; "), experiment.stopping())
    };
    for (name, set, word) in [
        ("transfer", "train.steps=77", "77 steps"),
        ("transfer", "transfer.widths=[8, 24]", "widths 8, 24, base width 8"),
        ("transfer", "seeds=7", "7 seeds"),
        ("transfer", "transfer.refine_each_side=3", "3 rates lie"),
        ("perturbation", "perturb.sets=11", "11 sets"),
        ("perturbation", "perturb.span=0.5", "0.5 to 1.5"),
        ("rope", "search_rule.points_max=5", "5 at most"),
        ("rope", "pair.candidate.width=48", "width 48"),
        ("quality", "search.rounds=[3, 2]", "rounds of 3, 2 trials"),
        ("ladder-small", "ladder.budgets=[107200]", "budgets 107200 of total parameters"),
        ("ladder-tuned-long", "tuned.by.search.trial_seed=9", "seed 9"),
        ("penn-treebank", "data.masking.share=0.4", "40 % masked"),
    ] {
        let before = words(&experiment(name));
        let after = words(&changed(name, &[set]).unwrap());
        assert!(!before.contains(word) && after.contains(word), "{name} {set}: {after}");
    }
    // Numbers of settings stand in no sentence that a copy would keep.
    for name in registry::registered().into_iter().chain(registry::presets()) {
        let experiment = experiment(name);
        let of = [experiment.scientific.clone(), experiment.nuisance.clone()].concat();
        let free = format!("{} {}", experiment.question, of.join(" "));
        let free = free.replace("2604.25409", "").replace("(2023)", "").replace("PT 2023", "");
        let digit = free.chars().find(char::is_ascii_digit);
        assert_eq!(digit, None, "{name}: {free}");
    }
}

#[test]
fn invariant_sweeps_over_nothing_and_over_equal_widths_are_refused() {
    let refused = |name: &str, set: &str, what: &str| {
        let error = changed(name, &[set]).unwrap_err().to_string();
        assert!(error.contains(what) && error.contains("hint:"), "{name} {set}: {error}");
        assert!(error.contains(&format!("--set {set}")), "it points at its place: {error}");
    };
    for widths in ["[]", "[32]", "[64, 32]", "[32, 32]", "[32, 64, 64]", "[0, 8]"] {
        refused("transfer", &format!("transfer.widths={widths}"), "transfer.widths = [");
    }
    for names in ["[]", "[\"standard\", \"standard\"]"] {
        let set = format!("transfer.parametrizations={names}");
        refused("transfer", &set, "transfer.parametrizations = [");
    }
    refused("transfer", "transfer.center=-1.0", "transfer.center = -1");
    refused("transfer", "transfer.center=0.0", "transfer.center = 0");
    refused("transfer", "transfer.refine_each_side=0", "transfer.refine_each_side = 0");
    for widths in ["[32, 32]", "[64, 32]", "[0, 32]"] {
        refused("perturbation", &format!("perturb.widths={widths}"), "perturb.widths = [");
    }
    for sets in [0, 1, 3] {
        refused("perturbation", &format!("perturb.sets={sets}"), "perturb.sets = ");
    }
    refused("perturbation", "perturb.knobs=[]", "perturb.knobs = []");
    refused("perturbation", "perturb.span=1.0", "perturb.span = 1");
    let knob = changed("perturbation", &["perturb.knobs=[\"model.nothing\"]"]).unwrap_err();
    assert!(knob.to_string().contains("knob 'model.nothing'"), "{knob}");
    refused("ladder-small", "ladder.budgets=[]", "ladder.budgets = []");
    refused("ladder-small", "ladder.budgets=[2, 1]", "ladder.budgets = [2.0, 1.0]");
    refused("ladder-small", "ladder.families=[]", "ladder.families = []");
    refused("ladder-small", "ladder.families=[\"pt\", \"pt\"]", "ladder.families");
    refused("quick", "ladder.transfer.widths=[48]", "transfer.widths = [48]");
    refused("rope", "pair.baseline.center=0", "pair.baseline.center = 0");
    refused("rope", "pair.baseline.width=0", "pair.baseline.width = 0");
    refused("quality", "search.trial_seed=2", "search.trial_seed = 2");
    refused("rope", "seeds=0", "seeds = 0");
    refused("rope", "search_rule.factor=1.0", "search_rule.factor = 1");
}

#[test]
fn invariant_files_are_based_on_others_and_say_what_is_wrong() {
    let parse = |text: &str| Experiment::parse("own.toml", text);
    let own = parse("based_on = \"transfer\"\nname = \"own\"\n[transfer]\nwidths = [16, 32]\n");
    let own = own.unwrap();
    assert_eq!(own.setting, experiment("transfer").setting);
    let Design::Transfer(transfer) = &own.design else { unreachable!() };
    assert_eq!((transfer.widths.as_slice(), transfer.center), (&[16, 32][..], 0.1));
    // Another design takes the place of the one below.
    let tuned = "based_on = \"ladder-small\"\nname = \"own\"\n[tuned]\nladder = \"ladder-small\"\n";
    assert_eq!(parse(&format!("{tuned}by = \"quality\"")).unwrap().design.name(), "tuned");
    let wrong = |text: &str, what: &str| {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.contains(what) && error.contains("hint:"), "{error}");
    };
    wrong("based_on = \"transfr\"\nname = \"own\"", "did you mean transfer?");
    wrong("based_on = \"transfer\"", "without a name of its own");
    wrong("based_on = 3\nname = \"own\"", "based_on = 3");
    wrong("recipe = \"half\"\nname = \"own\"", "no recipe 'half'");
    wrong(&format!("{tuned}by = \"rope\""), "experiment 'rope' has no [search]");
    let misspelled = "name = \"own\"\nrecipe = \"half-million\"\n[train]\nstepz = 1\n";
    wrong(misspelled, "line 4, column 1");
    wrong(
        "name = \"own\"\nquestion = \"?\"\nseeds = 1\nrecipe = \"half-million\"\n\
        search_rule = { factor = 2.0, points_each_side = 1, points_max = 6, seed = 1 }\n",
        "exactly one of [ladder]",
    );
}
