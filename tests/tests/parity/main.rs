//! Agreement with independent implementations and known answers.
mod bert;
mod bert_candle;
mod files;
mod pt2023;
mod pt2026;
mod transformers;
