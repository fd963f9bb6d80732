//! `parity`.

use std::path::Path;

use tempfile::TempDir;

use super::crossscale;

#[test]
fn cli_parity_tells_agreement_from_damage() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden/known_answers");
    let file = golden.join("pt2026/exact_rope.safetensors");
    let folder = TempDir::new().unwrap();
    let run = |path: &Path| crossscale(folder.path(), &["parity", path.to_str().unwrap()]);
    assert_eq!(run(&file).status.code(), Some(0));
    assert_eq!(run(&folder.path().join("absent.safetensors")).status.code(), Some(3));
    let broken = folder.path().join("broken.safetensors");
    std::fs::write(&broken, b"not a known answer").unwrap();
    assert_eq!(run(&broken).status.code(), Some(2));
    let mut bytes = std::fs::read(&file).unwrap();
    let place = {
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let loss = tensors.tensor("loss").unwrap().data().as_ptr() as usize;
        loss - bytes.as_ptr() as usize
    };
    bytes[place + 6] ^= 0x10;
    std::fs::write(&broken, bytes).unwrap();
    assert_eq!(run(&broken).status.code(), Some(10));
}
