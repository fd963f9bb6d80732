//! Parts shared by the baselines: shapes, attention, feed-forward layer and MLM head.
//!
//! Parameter names are the same in every family. Below a layer's prefix (`layers.0`, or `block`
//! where one block is shared): `attention.{query,key,value,output}`, `attention.norm`,
//! `feed_forward.{inner,gate,outer}`, `feed_forward.norm`, with QK-norm
//! `attention.{query_norm,key_norm}`. Once per model:
//! `embedding.{token,position,type,step}`, `embedding.norm`, `final_norm`,
//! `head.{dense,norm,decoder}`. Matrices and gains end in `.weight`, added vectors in `.bias`;
//! tables have no ending.

mod head;
mod pass;
mod positions;
mod shape;

pub use head::MlmHead;
pub use positions::{PositionStart, Positions, ROPE_THETA};
pub use shape::{Activation, BlockShape, DEFAULT_HEAD_DIM, Scales};

pub(crate) use pass::{Pass, embed};
pub(crate) use positions::{check_rotary, rotary};
pub(crate) use shape::{Sizes, rescaled};

/// Read access to the parts that every model of blocks is made of.
macro_rules! block_accessors {
    ($model:ident, $config:ident) => {
        impl $model {
            /// The configuration it was built from.
            pub fn config(&self) -> &$config {
                &self.config
            }

            /// Shape of a block.
            pub fn block(&self) -> &BlockShape {
                &self.shape
            }

            /// The MLM head.
            pub fn mlm_head(&self) -> &MlmHead {
                &self.head
            }

            /// Forward constants.
            pub fn scales(&self) -> &Scales {
                &self.scales
            }
        }
    };
}
pub(crate) use block_accessors;

/// Methods of `FamilyConfig` that every family of blocks has alike.
macro_rules! block_config {
    ($model:ident) => {
        fn dimensions(&self) -> Dimensions {
            self.sizes().dimensions()
        }

        fn at_width(&self, width: usize) -> Self {
            let feed_forward_width =
                self.feed_forward_width.map(|size| rescaled(size, self.width, width));
            Self { width, feed_forward_width, ..self.clone() }
        }

        fn model(&self, base: &Self, sites: &SiteScales) -> Result<$model> {
            Ok($model {
                shape: self.block()?,
                head: self.head(),
                scales: Scales::new((&self.block()?, &base.block()?), sites)?,
                layout: self.layout()?,
                config: self.clone(),
            })
        }
    };
}
pub(crate) use block_config;

/// Methods of `Architecture` that every family of blocks has alike.
macro_rules! block_methods {
    ($family:literal) => {
        fn family(&self) -> &'static str {
            $family
        }

        fn vocab(&self) -> usize {
            self.config.vocab
        }

        fn layout(&self) -> &Layout {
            &self.layout
        }

        fn dimensions(&self) -> Dimensions {
            self.config.dimensions()
        }

        fn head(&self, w: &Weights, rows: &Tensor, probe: &mut dyn Probe) -> Result<Tensor> {
            self.head.forward(w, rows, self.scales.tied_logits, probe)
        }
    };
}
pub(crate) use block_methods;
