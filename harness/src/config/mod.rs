//! Configuration: presets, files and `--set` overrides, resolved to one run.

pub mod commented;
pub mod compute;
pub mod data;
pub mod family_defaults;
mod fitting;
mod head_dim;
pub mod locate;
mod masking;
pub mod model;
mod named_files;
pub mod names;
pub mod overrides;
pub mod path_value;
pub mod run;
pub mod run_presets;
pub mod split_names;
pub mod suggest;
pub mod text_folder;
pub mod train;
