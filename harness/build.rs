//! Records the compiler version for run manifests and lists the registered experiments and claims.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let compiler = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = Command::new(compiler).arg("--version").output();
    let version = version.ok().and_then(|output| String::from_utf8(output.stdout).ok());
    println!("cargo:rustc-env=CROSSSCALE_RUSTC={}", version.unwrap_or_default().trim());
    let folder = std::env::var("OUT_DIR").expect("cargo names a folder for generated files");
    let mut listed = String::new();
    for (constant, kind) in [("EXPERIMENTS", "experiments"), ("CLAIMS", "claims")] {
        listed.push_str(&list(constant, kind));
    }
    std::fs::write(Path::new(&folder).join("registered.rs"), listed)
        .expect("the folder for generated files can be written");
}

/// A constant with name and text of every TOML file of one kind, so that adding a claim is
/// adding a file.
fn list(constant: &str, kind: &str) -> String {
    let root = std::env::var("CARGO_MANIFEST_DIR").expect("cargo names the package's folder");
    let folder = Path::new(&root).join("src/experiment/registered").join(kind);
    println!("cargo:rerun-if-changed={}", folder.display());
    let entries = std::fs::read_dir(&folder).expect("the folder of definitions can be read");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("a readable entry").file_name().to_string_lossy().into_owned())
        .filter(|name| Path::new(name).extension().is_some_and(|extension| extension == "toml"))
        .collect();
    names.sort();
    let mut text = format!("const {constant}: &[(&str, &str)] = &[\n");
    for name in names {
        let path = folder.join(&name).display().to_string();
        writeln!(text, "    ({name:?}, include_str!({path:?})),").expect("a string takes all");
    }
    text + "];\n"
}
