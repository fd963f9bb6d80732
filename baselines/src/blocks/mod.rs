//! Parts shared by the baselines: shapes, attention, feed-forward layer and MLM head.
//!
//! Parameter names are the same in every family. Below a layer's prefix (`layers.0`, or `block`
//! where one block is shared): `attention.{query,key,value,output}`, `attention.norm`,
//! `feed_forward.{inner,gate,outer}`, `feed_forward.norm`. Once per model:
//! `embedding.{token,position,type,step}`, `embedding.norm`, `final_norm`,
//! `head.{dense,norm,decoder}`. Matrices and gains end in `.weight`, added vectors in `.bias`;
//! tables have no ending.

mod head;
mod pass;
mod shape;

pub use head::MlmHead;
pub use shape::{Activation, BlockShape, DEFAULT_HEAD_DIM, Scales};

pub(crate) use pass::{Pass, embed};
pub(crate) use shape::{Sizes, rescaled};
