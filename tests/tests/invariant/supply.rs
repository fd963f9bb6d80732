//! Where dependencies come from, under which licences, and why each direct one is there: the rules
//! of `deny.toml` without cargo-deny, and docs/architecture.md's table against the manifests.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the workspace").to_owned()
}

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).expect(name)
}

/// The system that cargo builds for here, as `x86_64-unknown-linux-gnu`.
fn host() -> String {
    let output = Command::new(env!("CARGO")).arg("-vV").output().expect("cargo starts");
    let said = String::from_utf8(output.stdout).expect("cargo writes UTF-8");
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    host.expect("cargo names its host").to_owned()
}

/// The packages that the build of this test has fetched: those of this system, with default
/// features, development dependencies included. Manifests of other systems' crates may never have
/// been downloaded; [`locked`] has all of them by name, and `ci/supply_chain` fetches them.
fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(["--filter-platform", &host()])
        .current_dir(root())
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("metadata is JSON");
    let packages = metadata["packages"].as_array().expect("metadata has packages").clone();
    assert!(packages.len() > 100, "{} packages", packages.len());
    packages
}

/// All packages that `Cargo.lock` can bring in, on any system and with any feature.
fn locked() -> Vec<toml::Table> {
    let lock: toml::Table = read("Cargo.lock").parse().expect("the lock file is TOML");
    let packages = lock["package"].as_array().expect("a list of packages");
    let packages: Vec<toml::Table> =
        packages.iter().map(|package| package.as_table().expect("a table").clone()).collect();
    assert!(packages.len() > 100, "{} packages", packages.len());
    packages
}

fn text<'a>(package: &'a Value, key: &str) -> &'a str {
    package[key].as_str().unwrap_or_default()
}

fn rules() -> toml::Table {
    read("deny.toml").parse().expect("deny.toml is TOML")
}

fn strings(value: &toml::Value) -> Vec<&str> {
    value.as_array().expect("a list").iter().filter_map(toml::Value::as_str).collect()
}

/// Whether a licence expression can be met with allowed licences only.
fn is_allowed(expression: &str, allowed: &[&str]) -> bool {
    let plain = expression.replace(" / ", " OR ").replace('/', " OR ");
    let mut tokens = plain.replace('(', " ( ").replace(')', " ) ");
    tokens = tokens.replace(" WITH ", "+WITH+");
    let tokens: Vec<&str> = tokens.split_whitespace().collect();
    let mut place = 0;
    let value = either(&tokens, &mut place, allowed);
    value && place == tokens.len()
}

fn either(tokens: &[&str], place: &mut usize, allowed: &[&str]) -> bool {
    let mut value = both(tokens, place, allowed);
    while tokens.get(*place) == Some(&"OR") {
        *place += 1;
        value |= both(tokens, place, allowed);
    }
    value
}

fn both(tokens: &[&str], place: &mut usize, allowed: &[&str]) -> bool {
    let mut value = one(tokens, place, allowed);
    while tokens.get(*place) == Some(&"AND") {
        *place += 1;
        value &= one(tokens, place, allowed);
    }
    value
}

fn one(tokens: &[&str], place: &mut usize, allowed: &[&str]) -> bool {
    let Some(token) = tokens.get(*place) else { return false };
    *place += 1;
    if *token != "(" {
        return allowed.contains(&token.replace("+WITH+", " WITH ").as_str());
    }
    let value = either(tokens, place, allowed);
    let closed = tokens.get(*place) == Some(&")");
    *place += 1;
    value && closed
}

#[test]
fn invariant_supply_licence_expressions_are_read_rightly() {
    let allowed = ["MIT", "Apache-2.0", "Unicode-3.0", "Apache-2.0 WITH LLVM-exception"];
    for good in [
        "MIT",
        "MIT/Apache-2.0",
        "GPL-3.0 OR MIT",
        "(MIT OR GPL-3.0) AND Unicode-3.0",
        "Apache-2.0 WITH LLVM-exception",
    ] {
        assert!(is_allowed(good, &allowed), "{good}");
    }
    for bad in ["GPL-3.0", "MIT AND GPL-3.0", "(GPL-3.0 OR MIT) AND GPL-3.0", "", "(MIT", "MIT MIT"]
    {
        assert!(!is_allowed(bad, &allowed), "{bad}");
    }
}

#[test]
fn invariant_supply_every_fetched_package_has_an_allowed_licence() {
    let rules = rules();
    let licences = strings(&rules["licenses"]["allow"]);
    let mut problems = Vec::new();
    for package in packages() {
        let licence = text(&package, "license");
        if !is_allowed(licence, &licences) {
            let (name, version) = (text(&package, "name"), text(&package, "version"));
            problems.push(format!("{name} {version}: licence '{licence}'"));
        }
    }
    assert!(problems.is_empty(), "deny.toml does not allow:\n  {}", problems.join("\n  "));
}

#[test]
fn invariant_supply_every_locked_package_has_an_allowed_source_and_name() {
    let rules = rules();
    let registries = strings(&rules["sources"]["allow-registry"]);
    let banned = rules["bans"]["deny"].as_array().expect("a list of bans");
    let mut problems = Vec::new();
    for package in locked() {
        let entry = |key: &str| package.get(key).and_then(toml::Value::as_str);
        let (name, version) = (entry("name").unwrap_or("?"), entry("version").unwrap_or("?"));
        // Members of the workspace have no source.
        if let Some(source) = entry("source")
            && !registries.contains(&source.trim_start_matches("registry+"))
        {
            problems.push(format!("{name} {version}: source '{source}'"));
        }
        if banned.iter().any(|ban| ban["crate"].as_str() == Some(name)) {
            problems.push(format!("{name} {version}: banned, see deny.toml"));
        }
    }
    assert!(problems.is_empty(), "deny.toml does not allow:\n  {}", problems.join("\n  "));
}

#[test]
fn invariant_supply_no_dependency_needs_a_newer_compiler_than_is_promised() {
    let manifest: toml::Table = read("Cargo.toml").parse().expect("the manifest is TOML");
    let promised = manifest["workspace"]["package"]["rust-version"].as_str().expect("a version");
    let numbers = |version: &str| -> Vec<u32> {
        version.split('.').map(|part| part.parse().expect("a number")).collect()
    };
    let too_new: Vec<String> = packages()
        .iter()
        .filter(|package| {
            let needed = text(package, "rust_version");
            !needed.is_empty() && numbers(needed)[..2] > numbers(promised)[..2]
        })
        .map(|package| format!("{} needs {}", text(package, "name"), text(package, "rust_version")))
        .collect();
    assert!(too_new.is_empty(), "newer than {promised}: {too_new:?}");
    for document in ["README.md", ".ci/run"] {
        assert!(read(document).contains(promised), "{document} names another version");
    }
}

#[test]
fn invariant_supply_every_direct_dependency_stands_in_the_table_with_its_reason() {
    let mut direct = BTreeSet::new();
    let members: BTreeSet<String> = ["baselines", "harness", "models", "reports"]
        .iter()
        .map(|name| (*name).to_owned())
        .collect();
    for package in packages().iter().filter(|package| package["source"].is_null()) {
        for dependency in package["dependencies"].as_array().expect("a list of dependencies") {
            direct.insert(text(dependency, "name").to_owned());
        }
    }
    let direct: BTreeSet<String> = direct.difference(&members).cloned().collect();
    let document = read("docs/architecture.md");
    let (_, section) = document.split_once("## Dependencies").expect("a section of dependencies");
    let mut listed = BTreeSet::new();
    for row in section.lines().filter(|line| line.starts_with("| ")).skip(1) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        assert!(cells.len() == 2 && !cells[1].is_empty(), "no reason in: {row}");
        if !cells[0].starts_with("---") {
            listed.extend(cells[0].split(", ").map(str::to_owned));
        }
    }
    let missing: Vec<&String> = direct.difference(&listed).collect();
    let gone: Vec<&String> = listed.difference(&direct).collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "missing: {missing:?}, no longer used: {gone:?}"
    );
}
