//! One column of a `.parquet` file.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use ::parquet::basic::{ConvertedType, Type as PhysicalType};
use ::parquet::errors::ParquetError;
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::record::{Row, RowAccessor};
use ::parquet::schema::types::Type;

use super::Budget;
use crate::corpus::documents::Document;
use crate::error::{HarnessError, Result};

/// Every row of column `field` is a document; empty rows are left out.
pub(super) fn read(
    path: &Path,
    field: &str,
    budget: &mut Budget,
    documents: &mut Vec<Document>,
) -> Result<()> {
    let damaged = |problem: ParquetError| {
        let (problem, remedy) = unreadable(&problem.to_string());
        HarnessError::input(path, problem, remedy)
    };
    let file = File::open(path).map_err(HarnessError::io(path))?;
    let reader = SerializedFileReader::new(file).map_err(damaged)?;
    let schema = reader.metadata().file_metadata().schema();
    let column = text_column(schema, field)
        .map_err(|(problem, remedy)| HarnessError::input(path, problem, remedy))?;
    // The file says how much it holds; refuse before reading.
    let announced: i64 = (reader.metadata().row_groups().iter())
        .flat_map(|group| group.columns())
        .filter(|chunk| chunk.column_path().string() == field)
        .map(|chunk| chunk.uncompressed_size())
        .fold(0, i64::saturating_add);
    budget.clone().spend(path, announced.max(0) as u64)?;
    let projection = Type::group_type_builder(schema.name())
        .with_fields(vec![Arc::clone(column)])
        .build()
        .map_err(damaged)?;
    for (row, record) in reader.get_row_iter(Some(projection)).map_err(damaged)?.enumerate() {
        let record = record.map_err(damaged)?;
        let text = text_of(&record, field).map_err(|(problem, remedy)| {
            HarnessError::input(path, format!("row {row}: {problem}"), remedy)
        })?;
        budget.spend(path, text.len() as u64)?;
        if !text.trim().is_empty() {
            let name = format!("{}:{row}", path.display());
            documents.push(Document { name, text });
        }
    }
    Ok(())
}

/// Why a file could not be read, and what helps.
pub(super) fn unreadable(problem: &str) -> (String, &'static str) {
    let lower = problem.to_lowercase();
    let is = |parts: &[&str]| parts.iter().any(|part| lower.contains(part));
    let remedy = if is(&["encrypt"]) {
        "the file is encrypted: decrypt it, or convert it to .jsonl where its key is"
    } else if is(&["footer", "magic", "eof", "size is smaller", "range", "metadata length"]) {
        "the file is cut off or no parquet file: fetch it again"
    } else if is(&["codec", "compression", "feature", "zstd", "lz4", "brotli", "disabled"]) {
        "pages must be uncompressed, snappy or gzip; else convert the file to .jsonl"
    } else {
        "the file may be damaged: fetch it again, or convert it to .jsonl"
    };
    (format!("cannot be read: {problem}"), remedy)
}

/// The column called `field` if it can hold strings, else problem and remedy.
fn text_column<'a>(
    schema: &'a Type,
    field: &str,
) -> std::result::Result<&'a Arc<Type>, (String, String)> {
    let named: Vec<&str> = schema
        .get_fields()
        .iter()
        .filter(|column| is_text(column))
        .map(|column| column.name())
        .take(8)
        .collect();
    let other = if named.is_empty() {
        "no column of the file holds strings: write one with the text of each row".to_owned()
    } else {
        format!("set data.paths.text_field to one of {named:?}, which hold strings")
    };
    let Some(column) = schema.get_fields().iter().find(|column| column.name() == field) else {
        return Err((format!("has no column {field:?}"), other));
    };
    if is_text(column) {
        return Ok(column);
    }
    let kind = if column.is_primitive() {
        format!("{:?}", column.get_physical_type()).to_lowercase()
    } else if column.get_basic_info().converted_type() == ConvertedType::LIST {
        "lists".to_owned()
    } else {
        "structures".to_owned()
    };
    let remedy = if named.is_empty() {
        format!("write one string a row into {field:?}, e.g. the parts joined by spaces")
    } else {
        format!("{other}; or write one string a row into {field:?}")
    };
    Err((format!("column {field:?} holds {kind}, not strings"), remedy))
}

/// Strings, and bytes that may be strings without being marked: older writers leave the mark out.
fn is_text(column: &Type) -> bool {
    column.is_primitive()
        && column.get_physical_type() == PhysicalType::BYTE_ARRAY
        && !matches!(
            column.get_basic_info().converted_type(),
            ConvertedType::DECIMAL | ConvertedType::BSON
        )
}

/// The text of a row of one column.
fn text_of(record: &Row, field: &str) -> std::result::Result<String, (String, String)> {
    if let Ok(text) = record.get_string(0) {
        return Ok(text.clone());
    }
    if let Ok(bytes) = record.get_bytes(0) {
        return String::from_utf8(bytes.data().to_vec()).map_err(|_| {
            (
                format!("column {field:?} holds bytes that are no UTF-8"),
                "it is binary data, or text of another encoding: decode it when the file is written"
                    .to_owned(),
            )
        });
    }
    Err((
        format!("column {field:?} is null"),
        "leave rows without text out, or fill them, when the file is written".to_owned(),
    ))
}
