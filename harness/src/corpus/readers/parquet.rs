//! One column of a `.parquet` file.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use ::parquet::errors::ParquetError;
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::record::RowAccessor;
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
        HarnessError::input(
            path,
            format!("cannot be read: {problem}"),
            "pages must be uncompressed, snappy or gzip; else convert the file to .jsonl",
        )
    };
    let file = File::open(path).map_err(HarnessError::io(path))?;
    let reader = SerializedFileReader::new(file).map_err(damaged)?;
    let schema = reader.metadata().file_metadata().schema();
    let column = schema.get_fields().iter().find(|column| column.name() == field);
    let Some(column) = column.filter(|column| column.is_primitive()) else {
        let names: Vec<&str> =
            schema.get_fields().iter().take(8).map(|column| column.name()).collect();
        return Err(HarnessError::input(
            path,
            format!("has no text column {field:?}"),
            format!("set data.paths.text_field to one of {names:?}"),
        ));
    };
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
        let text = record.get_string(0).map_err(|_| {
            HarnessError::input(
                path,
                format!("row {row}: column {field:?} holds no string"),
                "set data.paths.text_field to the column that holds the text; fill null rows",
            )
        })?;
        budget.spend(path, text.len() as u64)?;
        if !text.trim().is_empty() {
            let name = format!("{}:{row}", path.display());
            documents.push(Document { name, text: text.clone() });
        }
    }
    Ok(())
}
