//! The HTML form of a document: one file that needs nothing else.

use std::fmt::Write;

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, Value, context};

use crate::cell::{Cell, Column, ColumnKind};

use crate::document::{Block, Document};
use crate::error::Result;
use crate::markdown::provenance_parts;
use crate::{Figure, Provenance, Table, figure, inline};

/// Letters of a cell up to which it is kept on one line.
const LONGEST_UNBROKEN: usize = 28;
const TEMPLATE: &str = include_str!("report.html.jinja");

/// A whole document.
pub(crate) fn document(document: &Document) -> Result<String> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?;
    environment.set_syntax(syntax);
    environment.add_template("report", TEMPLATE)?;
    let sections: Vec<Value> = document
        .sections
        .iter()
        .map(|section| {
            let blocks: Vec<Value> = section.blocks.iter().map(block).collect();
            context! { title => &section.title, anchor => section.anchor(), blocks }
        })
        .collect();
    let figures = document.sections.iter().flat_map(|section| &section.blocks);
    let figures = figures.filter_map(|block| match block {
        Block::Figure(figure) => Some(figure),
        _ => None,
    });
    let dark_colours = Value::from_safe_string(figure::dark_colours(figures));
    let page = context! { title => &document.title, sections, dark_colours };
    Ok(environment.get_template("report")?.render(page)?)
}

/// What the template needs of a block; `Value::from_safe_string` marks what is escaped already.
fn block(block: &Block) -> Value {
    let html = |text: &str| Value::from_safe_string(inline::to_html(text));
    match block {
        Block::Text(text) => context! { kind => "text", html => html(text) },
        Block::Warning(text) => context! { kind => "warning", html => html(text) },
        Block::List(items) => {
            let items: Vec<Value> = items.iter().map(|item| html(item)).collect();
            context! { kind => "list", items }
        }
        Block::Code(code) => context! { kind => "code", code },
        Block::Table(table) => table_block(table),
        Block::Figure(figure) => figure_block(figure),
    }
}

fn table_block(table: &Table) -> Value {
    let safe = |text: &str| Value::from_safe_string(inline::to_html(text));
    context! {
        kind => "table",
        name => &table.name,
        caption => safe(&table.caption),
        html => Value::from_safe_string(table.to_html()),
        rule => table.rule.as_deref().map(safe),
        source => source(&table.provenance),
    }
}

fn figure_block(figure: &Figure) -> Value {
    context! {
        kind => "figure",
        name => &figure.name,
        title => &figure.title,
        svg => Value::from_safe_string(figure.inline_svg()),
        caption => Value::from_safe_string(inline::to_html(&figure.caption)),
        data => Value::from_safe_string(figure.data.to_html()),
        source => source(&figure.data.provenance),
    }
}

fn source(provenance: &Provenance) -> Vec<Value> {
    let parts = provenance_parts(provenance).into_iter();
    parts.map(|(label, text)| context! { label, text }).collect()
}

/// The `<table>` element alone, everything escaped.
pub(crate) fn table(table: &Table) -> String {
    let class = |column: &Column| match column.kind {
        ColumnKind::Text => "",
        ColumnKind::Number | ColumnKind::Estimate => " class=\"number\"",
    };
    let mut out = String::from("<table>\n<thead><tr>");
    for column in &table.columns {
        let heading = inline::escape_html(&column.heading());
        let _ = write!(out, "<th scope=\"col\"{}>{heading}</th>", class(column));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for row in table.rows() {
        out.push_str("<tr>");
        for (cell, column) in row.iter().zip(&table.columns) {
            let short = cell.display().chars().count() <= LONGEST_UNBROKEN;
            let class = match class(column) {
                "" if short => " class=\"short\"",
                class => class,
            };
            let _ = write!(out, "<td{class}>{}</td>", table_cell(cell));
        }
        out.push_str("</tr>\n");
    }
    out + "</tbody>\n</table>"
}

fn table_cell(cell: &Cell) -> String {
    let text = inline::escape_html(&cell.display());
    match cell {
        Cell::Link { target, .. } => {
            format!("<a href=\"{}\">{text}</a>", inline::escape_html(&inline::safe_target(target)))
        }
        Cell::Verdict(word) => {
            let class = word.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
            format!("<span class=\"verdict {class}\">{text}</span>")
        }
        _ => text,
    }
}
