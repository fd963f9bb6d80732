//! Reading and refusing files.

use std::fs;
use std::io::Write;

use flate2::Compression as GzipLevel;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use super::*;
use crate::config::data::TextDocument;

fn config(train: &[PathBuf]) -> PathsConfig {
    PathsConfig { train: train.to_vec(), ..PathsConfig::default() }
}

/// Writes `bytes` to `name` in a fresh folder and reads the file as training text.
fn read_bytes(name: &str, bytes: &[u8], change: impl Fn(&mut PathsConfig)) -> Result<Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    let mut config = config(&[path]);
    (config.validation_share, config.test_share) = (0.0, 0.0);
    change(&mut config);
    let splits = super::read(&config)?;
    assert!(splits.validation.is_empty() && splits.test.is_empty());
    Ok(splits.train.into_iter().map(|document| document.text).collect())
}

fn message(name: &str, bytes: &[u8]) -> String {
    read_bytes(name, bytes, |_| ()).unwrap_err().to_string()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), GzipLevel::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstandard(bytes: &[u8]) -> Vec<u8> {
    compress_to_vec(bytes, CompressionLevel::Fastest)
}

#[test]
fn invariant_text_files_divide_as_configured() {
    let text = "\u{feff}one\ntwo\r\n\n \n three \n\nfour";
    let read = |unit| read_bytes("a.txt", text.as_bytes(), |c| c.text_document = unit).unwrap();
    assert_eq!(read(TextDocument::File), [&text[3..]]);
    assert_eq!(read(TextDocument::Line), ["one", "two", " three ", "four"]);
    assert_eq!(read(TextDocument::Paragraph), ["one\ntwo", " three ", "four"]);
}

#[test]
fn invariant_compressed_files_hold_the_same_documents() {
    let lines =
        "{\"text\": \"a\\nb\"}\n\n{\"id\": 3, \"text\": \"é\"}\n{\"text\": \" \"}\n".repeat(999);
    let plain = read_bytes("a.jsonl", lines.as_bytes(), |_| ()).unwrap();
    assert_eq!((plain.len(), plain[0].as_str(), plain[1].as_str()), (1998, "a\nb", "é"));
    // Both formats allow several members in one file.
    let (front, back) = lines.as_bytes().split_at(5_000);
    let gzipped = [gzip(front), gzip(back)].concat();
    assert_eq!(read_bytes("a.jsonl.gz", &gzipped, |_| ()).unwrap(), plain);
    let framed = [zstandard(front), zstandard(back)].concat();
    assert_eq!(read_bytes("a.JSONL.zst", &framed, |_| ()).unwrap(), plain);
}

/// A skippable frame with these bytes inside, of the kind `kind` of sixteen.
fn skippable(kind: u32, inside: &[u8]) -> Vec<u8> {
    let magic = (0x184D_2A50 + kind).to_le_bytes();
    [&magic[..], &(inside.len() as u32).to_le_bytes(), inside].concat()
}

#[test]
fn invariant_skippable_frames_and_padding_change_nothing() {
    let lines = "{\"text\": \"some words\"}\n".repeat(300);
    let plain = read_bytes("a.jsonl", lines.as_bytes(), |_| ()).unwrap();
    let (front, back) = lines.as_bytes().split_at(5_000);
    let (front, back) = (zstandard(front), zstandard(back));
    let (some, none, long) =
        (skippable(0, b"12345678"), skippable(15, b""), skippable(7, &vec![0x28; 1 << 17]));
    for archive in [
        [&some[..], &front, &back].concat(),
        [&front[..], &some, &none, &back].concat(),
        [&front[..], &back, &long].concat(),
        [&none[..], &long, &front, &some, &back, &none, &some].concat(),
    ] {
        assert_eq!(read_bytes("a.jsonl.zst", &archive, |_| ()).unwrap(), plain);
        let cut = message("a.jsonl.zst", &[&archive[..], &some[..11]].concat());
        assert!(cut.contains("cannot be read") && cut.contains("zstd -t"), "{cut}");
    }
    let beside = [&front[..], &back, b"PK\x03\x04 and more"].concat();
    assert!(message("a.jsonl.zst", &beside).contains("cannot be read"));
    let padded = [gzip(lines.as_bytes()), vec![0; 70_000]].concat();
    assert_eq!(read_bytes("a.jsonl.gz", &padded, |_| ()).unwrap(), plain);
    let after = [padded, gzip(lines.as_bytes())].concat();
    assert!(message("a.jsonl.gz", &after).contains("follows the zeros"));
}

#[test]
fn invariant_long_windows_are_read_up_to_a_limit_that_is_told() {
    let text = "some words that compress, some words that compress";
    // A frame by hand (RFC 8878, 3.1.1): no content size, the window as exponent, one raw block.
    let frame = |descriptor: u8, window: u8, dictionary: &[u8]| {
        let block = ((text.len() as u32) << 3 | 1).to_le_bytes();
        let head = [&0xFD2F_B528_u32.to_le_bytes()[..], &[descriptor, window], dictionary].concat();
        [&head[..], &block[..3], text.as_bytes()].concat()
    };
    let read = |bytes: &[u8]| read_bytes("a.txt.zst", bytes, |_| ());
    // 128 MiB and 2 GiB: windows of zstd --long=27 and --long=31.
    for exponent in [27 - 10, 31 - 10] {
        assert_eq!(read(&frame(0, exponent << 3, &[])).unwrap(), [text]);
    }
    let problem = read(&frame(0, 22 << 3, &[])).unwrap_err().to_string();
    let parts = ["window of 4294967296 bytes", "2147483648", "hint: compress it anew"];
    assert!(parts.iter().all(|part| problem.contains(part)), "{problem}");
    assert!(!problem.contains("cut off"), "{problem}");
    let problem = read(&frame(1, 0, &[9])).unwrap_err().to_string();
    assert!(problem.contains("dictionary 9") && problem.contains("zstd -d -D"), "{problem}");
}

#[cfg(unix)]
#[test]
fn invariant_files_whose_names_are_not_utf8_are_read() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    for name in [&b"caf\xe9.txt"[..], b"\xff\xfe.jsonl", b"ok.txt"] {
        let content = if name.ends_with(b"l") { "{\"text\": \"b\"}" } else { "a" };
        fs::write(folder.path().join(std::ffi::OsStr::from_bytes(name)), content).unwrap();
    }
    let mut config = config(&[folder.path().to_owned()]);
    (config.validation_share, config.test_share) = (0.0, 0.0);
    assert_eq!(super::read(&config).unwrap().train.len(), 3);
}

#[test]
fn invariant_folders_are_read_in_order_of_names() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("b.txt", "2"), ("a.txt", "1"), ("c.jsonl", "{\"text\": \"3\"}")] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    fs::write(folder.path().join("README.md"), "ignored").unwrap();
    let mut config = config(&[folder.path().to_owned()]);
    (config.validation_share, config.test_share) = (0.0, 0.0);
    let texts: Vec<String> =
        super::read(&config).unwrap().train.into_iter().map(|document| document.text).collect();
    assert_eq!(texts, ["1", "2", "3"]);
    config.validation = vec![folder.path().join("a.txt")];
    let text = super::read(&config).unwrap_err().to_string();
    assert!(text.contains("is in data.paths.train and in data.paths.validation"), "{text}");
}

#[test]
fn invariant_errors_name_file_line_and_remedy() {
    let cases: [(&str, &[u8], &[&str]); 13] = [
        ("a.txt", b"one\ntwo \xff", &["a.txt", "line 2", "byte 8", "iconv"]),
        ("a.txt", b"\xef\xbb\xbf\xff", &["line 1", "byte 3"]),
        ("a.jsonl", b"\xef\xbb\xbf{\"text\": 1}", &["line 1", "not a string"]),
        ("a.jsonl", b"{\"text\": \"a\"}\n\n{\"text\": \"\xff\"}", &["line 3", "byte 25", "iconv"]),
        (
            "a.jsonl",
            b"{\"text\": \"a\"}\n{\"content\": 1}",
            &["line 2", "\"text\"", "leave this line out"],
        ),
        ("a.jsonl", b"{\"text\": 1}", &["line 1", "not a string", "holds a string"]),
        ("a.jsonl", b"[1]", &["line 1", "not a JSON object"]),
        ("a.jsonl", b"text", &["line 1", "not valid JSON"]),
        ("a.txt", b" \n", &["hold no text"]),
        ("a.csv", b"a", &["which format", ".jsonl"]),
        ("a.txt.gz", b"plain", &["cannot be read", "gzip -t"]),
        ("a.txt.zst", b"plain", &["cannot be read", "zstd -t"]),
        ("a.jsonl.zst", b"\x28\xb5\x2f\xfd", &["cannot be read", "zstd -t"]),
    ];
    for (name, bytes, expected) in cases {
        let text = message(name, bytes);
        assert!(text.contains("\nhint: "), "{text}");
        for part in expected {
            assert!(text.contains(part), "{text} lacks {part}");
        }
    }
    let missing = super::read(&config(&["no/such.txt".into()])).unwrap_err();
    assert_eq!(missing.exit_code(), 3);
    assert!(missing.to_string().contains("no/such.txt"));
}

#[test]
fn invariant_too_much_text_is_refused() {
    let limit = |c: &mut PathsConfig| c.bytes_max = 1_000;
    let bomb = vec![b'a'; 1 << 20];
    let archives =
        [("a.txt", bomb.clone()), ("a.txt.gz", gzip(&bomb)), ("a.txt.zst", zstandard(&bomb))];
    for (name, bytes) in archives {
        let text = read_bytes(name, &bytes, limit).unwrap_err().to_string();
        assert!(text.contains("1000 bytes") && text.contains("bytes_max"), "{text}");
    }
    assert_eq!(read_bytes("a.txt", &bomb[..1_000], limit).unwrap()[0].len(), 1_000);
}

#[test]
fn invariant_cut_off_archives_are_refused() {
    let lines = "{\"text\": \"some words that compress\"}\n".repeat(2_000);
    for (name, whole) in
        [("a.jsonl.gz", gzip(lines.as_bytes())), ("a.jsonl.zst", zstandard(lines.as_bytes()))]
    {
        for share in [1, 3, 7] {
            let cut = &whole[..whole.len() * share / 8];
            assert!(message(name, cut).contains("cannot be read"), "{name} cut to {share}/8");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn invariant_no_bytes_make_the_readers_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        place in 0usize..1_000,
        value in any::<u8>(),
    ) {
        let valid = "{\"text\": \"some words\", \"n\": [1, {}]}\n".repeat(20).into_bytes();
        for (name, mut archive) in [
            ("a.jsonl", valid.clone()),
            ("a.jsonl.gz", gzip(&valid)),
            ("a.jsonl.zst", zstandard(&valid)),
        ] {
            let _ = read_bytes(name, &bytes, |c| c.bytes_max = 1 << 20);
            let place = place % archive.len();
            archive[place] = value;
            let _ = read_bytes(name, &archive, |c| c.bytes_max = 1 << 20);
        }
        let _ = read_bytes("a.txt", &bytes, |_| ());
    }
}

#[cfg(not(feature = "parquet"))]
#[test]
fn invariant_parquet_without_the_feature_says_how_to_get_it() {
    let text = message("a.parquet", b"PAR1");
    assert!(text.contains("--features parquet"), "{text}");
}

#[cfg(feature = "parquet")]
mod with_parquet {
    use std::sync::Arc;

    use ::parquet::data_type::{ByteArray, ByteArrayType, Int32Type};
    use ::parquet::file::properties::WriterProperties;
    use ::parquet::file::writer::SerializedFileWriter;
    use ::parquet::schema::parser::parse_message_type;

    use super::*;

    /// A column `id` of numbers and a column of bytes, marked as `schema` says.
    fn written(schema: &str, levels: Option<(&[i16], &[i16])>, values: &[&[u8]]) -> Vec<u8> {
        let schema = format!("message m {{ required int32 id; {schema} }}");
        let schema = Arc::new(parse_message_type(&schema).unwrap());
        let properties = Arc::new(WriterProperties::builder().build());
        let mut writer = SerializedFileWriter::new(Vec::new(), schema, properties).unwrap();
        let mut group = writer.next_row_group().unwrap();
        let mut ids = group.next_column().unwrap().unwrap();
        let rows = levels.map_or(values.len(), |(definition, _)| definition.len());
        let numbers: Vec<i32> = (0..rows as i32).collect();
        ids.typed::<Int32Type>().write_batch(&numbers, None, None).unwrap();
        ids.close().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let values: Vec<ByteArray> =
            values.iter().map(|value| ByteArray::from(value.to_vec())).collect();
        let (definition, repetition) = levels.map_or((None, None), |(a, b)| (Some(a), Some(b)));
        let repetition = repetition.filter(|levels| !levels.is_empty());
        column.typed::<ByteArrayType>().write_batch(&values, definition, repetition).unwrap();
        column.close().unwrap();
        group.close().unwrap();
        writer.into_inner().unwrap()
    }

    fn file(texts: &[&str]) -> Vec<u8> {
        let values: Vec<&[u8]> = texts.iter().map(|text| text.as_bytes()).collect();
        written("required binary content (UTF8);", None, &values)
    }

    fn read(bytes: &[u8], field: &str) -> Result<Vec<String>> {
        read_bytes("a.parquet", bytes, |config| config.text_field = field.into())
    }

    fn refused(bytes: &[u8], field: &str) -> String {
        read(bytes, field).unwrap_err().to_string()
    }

    #[test]
    fn invariant_parquet_rows_are_documents() {
        let bytes = file(&["one", "two é", " "]);
        assert_eq!(read(&bytes, "content").unwrap(), ["one", "two é"]);
        let absent = refused(&bytes, "text");
        assert!(absent.contains("no column \"text\"") && absent.contains("[\"content\"]"));
        let numbers = refused(&bytes, "id");
        assert!(numbers.contains("holds int32, not strings"), "{numbers}");
    }

    #[test]
    fn invariant_parquet_columns_that_hold_no_strings_are_told_by_what_they_hold() {
        // Bytes that nobody marked as text are text if they are UTF-8, as older writers leave them.
        let unmarked = "required binary text;";
        let bytes = written(unmarked, None, &["one".as_bytes(), "two é".as_bytes()]);
        assert_eq!(read(&bytes, "text").unwrap(), ["one", "two é"]);
        let picture = refused(&written(unmarked, None, &[b"one", b"\xff\xd8"]), "text");
        assert!(picture.contains("row 1: ") && picture.contains("no UTF-8"), "{picture}");
        let null = "optional binary text (UTF8);";
        let null = refused(&written(null, Some((&[1, 0], &[])), &[b"one"]), "text");
        assert!(null.contains("row 1: column \"text\" is null"), "{null}");
        let list = "optional group text (LIST) { repeated group list {
            optional binary element (UTF8); } }";
        let list = refused(&written(list, Some((&[3, 3], &[0, 0])), &[b"a", b"b"]), "text");
        assert!(list.contains("holds lists, not strings"), "{list}");
        let inner = "optional group text { required binary text (UTF8); }";
        let inner = refused(&written(inner, Some((&[1], &[])), &[b"a"]), "text");
        assert!(inner.contains("holds structures, not strings"), "{inner}");
        for told in [list, inner] {
            assert!(told.contains("hint: write one string a row into \"text\""), "{told}");
        }
    }

    #[test]
    fn invariant_parquet_files_that_are_cut_or_none_are_told() {
        let whole = file(&["one", "two"]);
        for cut in [&whole[..whole.len() - 5], &whole[..3], b"", b"some text that is no parquet"] {
            let told = refused(cut, "content");
            assert!(told.contains("cut off or no parquet file"), "{told}");
        }
        let lead = |problem: &str| super::super::parquet::unreadable(problem).1;
        assert!(lead("Disabled feature at compile time: zstd").contains("uncompressed, snappy"));
        assert!(lead("Parquet file has an encrypted footer").contains("decrypt it"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn invariant_damaged_parquet_is_an_error(place in 0usize..10_000, value in any::<u8>()) {
            let mut bytes = file(&["one", "two"]);
            let place = place % bytes.len();
            bytes[place] = value;
            let _ = read_bytes("a.parquet", &bytes, |config| config.text_field = "content".into());
        }
    }
}
