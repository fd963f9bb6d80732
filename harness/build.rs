//! Records the versions of compiler and candle and the commit built from, lists the registered
//! experiments and claims, and with the feature mpi builds the shim over the MPI library.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

mod source {
    include!("src/ledger/source.rs");
}

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    built_from();
    let compiler = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = Command::new(compiler).arg("--version").output();
    let version = version.ok().and_then(|output| String::from_utf8(output.stdout).ok());
    println!("cargo:rustc-env=CROSSSCALE_RUSTC={}", version.unwrap_or_default().trim());
    println!("cargo:rustc-env=CROSSSCALE_CANDLE={}", locked_version("candle-core"));
    let folder = std::env::var("OUT_DIR").expect("cargo names a folder for generated files");
    let mut listed = String::new();
    let kinds =
        [("EXPERIMENTS", ""), ("PRESETS", "presets"), ("RECIPES", "recipes"), ("CLAIMS", "claims")];
    for (constant, kind) in kinds {
        listed.push_str(&list(constant, kind));
    }
    std::fs::write(Path::new(&folder).join("experiments.rs"), listed)
        .expect("the folder for generated files can be written");
    if std::env::var_os("CARGO_FEATURE_MPI").is_some() {
        mpi(&folder);
    }
}

/// Records commit and hash of the sources. Runs anew when a source changes, which builds this
/// package anew in any case, and not when a commit is made: see `ledger::provenance`.
fn built_from() {
    let root = std::env::var("CARGO_MANIFEST_DIR").expect("cargo names the package's folder");
    let workspace = Path::new(&root).join("..");
    for name in source::SOURCES {
        println!("cargo:rerun-if-changed=../{name}");
    }
    let revision = source::revision(&workspace).unwrap_or_default();
    println!("cargo:rustc-env=CROSSSCALE_REVISION={revision}");
    let digest = source::digest(&workspace).unwrap_or_default();
    println!("cargo:rustc-env=CROSSSCALE_SOURCES={digest}");
}

/// Version of a crate in the workspace's lock file.
fn locked_version(name: &str) -> String {
    const LOCK: &str = "../Cargo.lock";
    println!("cargo:rerun-if-changed={LOCK}");
    let text = std::fs::read_to_string(LOCK).unwrap_or_default();
    let (_, after) =
        text.split_once(&format!("name = \"{name}\"\nversion = \"")).unwrap_or_default();
    after.split_once('"').map_or("unknown", |(version, _)| version).to_owned()
}

/// Compiles the C shim with the MPI library's own compiler wrapper and links what that one links.
fn mpi(out: &str) {
    const SHIM: &str = "src/collective/mpi_shim.c";
    println!("cargo:rerun-if-changed={SHIM}");
    println!("cargo:rerun-if-env-changed=MPICC");
    let wrapper = std::env::var("MPICC").unwrap_or_else(|_| "mpicc".to_owned());
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| {
            panic!(
                "{program}: {error}\nhint: the feature mpi needs an MPI library with mpicc, for \
                 instance Debian's libopenmpi-dev; MPICC names another wrapper"
            )
        });
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{program} {arguments:?}: {said}");
    };
    let object = format!("{out}/mpi_shim.o");
    run(&wrapper, &["-O2", "-fPIC", "-Wall", "-c", SHIM, "-o", &object]);
    run("ar", &["crs", &format!("{out}/libcrossscale_mpi.a"), &object]);
    println!("cargo:rustc-link-search=native={out}");
    println!("cargo:rustc-link-lib=static=crossscale_mpi");
    // OpenMPI's spelling, then MPICH's.
    let asked = |flag: &&str| Command::new(&wrapper).arg(flag).output().ok();
    let flags = ["--showme:link", "-link_info"]
        .iter()
        .filter_map(asked)
        .find(|output| output.status.success())
        .expect("mpicc says what it links");
    for flag in String::from_utf8_lossy(&flags.stdout).split_whitespace() {
        if let Some(folder) = flag.strip_prefix("-L") {
            println!("cargo:rustc-link-search=native={folder}");
        } else if let Some(library) = flag.strip_prefix("-l") {
            println!("cargo:rustc-link-lib={library}");
        }
    }
}

/// A constant with name and text of every TOML file of one kind, so that adding a claim is
/// adding a file.
fn list(constant: &str, kind: &str) -> String {
    let root = std::env::var("CARGO_MANIFEST_DIR").expect("cargo names the package's folder");
    let folder = Path::new(&root).join("experiments").join(kind);
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
        let name = name.trim_end_matches(".toml");
        writeln!(text, "    ({name:?}, include_str!({path:?})),").expect("a string takes all");
    }
    text + "];\n"
}
