//! Writes whole files of every kind, which the fuzzer begins with. Usage: corpus FOLDER

fn main() -> std::io::Result<()> {
    let folder = std::env::args_os().nth(1).expect("usage: corpus FOLDER");
    crossscale_tests::hostile::write_corpus(folder.as_ref())
}
