//! What the engine computes and where each parameter lies, resolved once from a model.

use std::ops::Range;

use models::architecture::Architecture;
use models::error::Result;
use models::fused::panel::packed_len;
use models::parametrization::Resolved;
use models::precision::Precision;

use super::order;
pub(super) use super::parts::{Block, Matrix, Norm, Site, Table, Vector};
use crate::blocks::{Activation, BlockShape, MlmHead, Scales};

/// What distinguishes the families.
pub(super) struct Family {
    /// Applications of a block: layers or steps.
    pub depth: usize,
    /// One block for all applications.
    pub shared: bool,
    /// Norms before the branches instead of after the sums.
    pub pre_norm: bool,
    /// Base of the rotary angles.
    pub rope_theta: Option<f64>,
    /// Rows of the position table.
    pub positions: Option<usize>,
}

/// The whole model.
pub(super) struct Plan {
    pub family: Family,
    pub vocab: usize,
    pub width: usize,
    pub heads: usize,
    pub head_dim: usize,
    /// Hidden units of the feed-forward layer.
    pub inner: usize,
    /// Matrices into the feed-forward layer: 1, or 2 with a gate.
    pub inner_parts: usize,
    pub epsilon: f32,
    pub attention_scale: f32,
    pub matrices: Vec<Matrix>,
    pub vectors: Vec<Vector>,
    pub token: Table,
    pub position: Option<Table>,
    /// First row of the type table.
    pub kind: Option<Range<usize>>,
    /// Rows added to the stream before each application.
    pub steps: Option<Range<usize>>,
    pub embedding_norm: Option<Norm>,
    /// Factor on the embedded input that joins the stream again before every step but the first.
    pub injection: Option<f32>,
    pub final_norm: Option<Norm>,
    pub blocks: Vec<Block>,
    pub head_dense: usize,
    pub head_bias: Range<usize>,
    pub head_norm: Norm,
    pub decoder: usize,
    pub decoder_bias: Range<usize>,
    /// Entries of the parameter buffer.
    pub parameter_total: usize,
    /// Entries of all effective vectors.
    pub vector_total: usize,
    /// Entries of all packed matrices.
    pub packed_total: usize,
    /// Values are computed again in the backward pass instead of being kept; see
    /// [`checkpoints`](Self::checkpoints) for which.
    pub recompute: bool,
    /// What operands of products are rounded to.
    pub precision: Precision,
    /// The last application is computed at predicted positions only; the bits are the same.
    pub restrict_last: bool,
}

/// Collects matrices and vectors in layout order.
struct Builder<'a> {
    model: &'a dyn Architecture,
    resolved: &'a Resolved,
    matrices: Vec<Matrix>,
    vectors: Vec<Vector>,
    vector_total: usize,
    packed_total: usize,
}

impl Builder<'_> {
    fn has(&self, name: &str) -> bool {
        self.model.layout().position(name).is_ok()
    }

    /// Place and forward multiplier of a parameter.
    fn find(&self, name: &str) -> Result<(Range<usize>, f64)> {
        let position = self.model.layout().position(name)?;
        let factor = self.resolved.rules[position].forward_multiplier;
        Ok((self.model.layout().range(position), factor))
    }

    fn table(&self, name: &str) -> Result<Table> {
        let (range, factor) = self.find(name)?;
        Ok(Table { range, factor: factor as f32 })
    }

    fn matrix(
        &mut self,
        name: &str,
        (outputs, inputs): (usize, usize),
        scale: f64,
        site: Site,
    ) -> Result<usize> {
        let (range, factor) = self.find(name)?;
        assert_eq!(range.len(), outputs * inputs, "the plan knows the shape of {name}");
        let packed = self.packed_total..self.packed_total + packed_len(inputs, outputs);
        let next = packed.end.next_multiple_of(models::fused::buffer::LINE);
        let packed_rows = next..next + packed_len(outputs, inputs);
        self.packed_total = packed_rows.end.next_multiple_of(models::fused::buffer::LINE);
        let factor = (factor * scale) as f32;
        self.matrices.push(Matrix {
            range,
            outputs,
            inputs,
            factor,
            packed,
            packed_rows,
            next: [0..0, 0..0],
            site,
        });
        Ok(self.matrices.len() - 1)
    }

    /// The first `size` entries of `name`; zeros if the model has no such parameter.
    fn vector(&mut self, name: &str, size: usize, scale: f64) -> Result<Range<usize>> {
        let place = self.vector_total..self.vector_total + size;
        self.vector_total = place.end;
        let (range, factor) = if self.has(name) {
            let (range, factor) = self.find(name)?;
            (Some(range.start..range.start + size), (factor * scale) as f32)
        } else {
            (None, 0.0)
        };
        self.vectors.push(Vector { range, factor, place: place.clone() });
        Ok(place)
    }

    fn norm(&mut self, name: &str, width: usize) -> Result<Norm> {
        Ok(Norm {
            gain: self.vector(&format!("{name}.weight"), width, 1.0)?,
            bias: self.vector(&format!("{name}.bias"), width, 1.0)?,
        })
    }

    fn optional_norm(&mut self, name: &str, width: usize) -> Result<Option<Norm>> {
        if self.has(&format!("{name}.weight")) {
            self.norm(name, width).map(Some)
        } else {
            Ok(None)
        }
    }

    fn block(
        &mut self,
        prefix: &str,
        index: usize,
        shape: &BlockShape,
        residual: f64,
    ) -> Result<Block> {
        let (width, inner) = (shape.width, shape.feed_forward_width);
        let name = |part: &str, kind: &str| format!("{prefix}.{part}.{kind}");
        let mut projections = [0; 3];
        for (part, which) in ["query", "key", "value"].into_iter().enumerate() {
            let name = name(&format!("attention.{which}"), "weight");
            let site = Site::Projection(index, part);
            projections[part] = self.matrix(&name, (width, width), 1.0, site)?;
        }
        let first = self.vector_total;
        for which in ["query", "key", "value"] {
            self.vector(&name(&format!("attention.{which}"), "bias"), width, 1.0)?;
        }
        let projection_bias = first..self.vector_total;
        let weight = name("attention.output", "weight");
        let output = self.matrix(&weight, (width, width), residual, Site::Output(index))?;
        let output_bias = self.vector(&name("attention.output", "bias"), width, residual)?;
        let mut head_norms = None;
        if shape.qk_norm {
            let mut gain = |which| {
                self.vector(&name(&format!("attention.{which}"), "weight"), shape.head_dim, 1.0)
            };
            head_norms = Some([gain("query_norm")?, gain("key_norm")?]);
        }
        let attention_norm = self.norm(&format!("{prefix}.attention.norm"), width)?;
        let parts: &[&str] = match shape.activation {
            Activation::Gelu => &["inner"],
            Activation::Swiglu => &["gate", "inner"],
        };
        let mut inners = Vec::new();
        let first = self.vector_total;
        for (part, which) in parts.iter().enumerate() {
            let stem = format!("feed_forward.{which}");
            let site = Site::Inner(index, part);
            inners.push(self.matrix(&name(&stem, "weight"), (inner, width), 1.0, site)?);
            self.vector(&name(&stem, "bias"), inner, 1.0)?;
        }
        let inner_bias = first..self.vector_total;
        let weight = name("feed_forward.outer", "weight");
        let outer = self.matrix(&weight, (width, inner), residual, Site::Outer(index))?;
        let outer_bias = self.vector(&name("feed_forward.outer", "bias"), width, residual)?;
        let feed_forward_norm = self.norm(&format!("{prefix}.feed_forward.norm"), width)?;
        Ok(Block {
            projections,
            output,
            inner: inners,
            outer,
            projection_bias,
            output_bias,
            inner_bias,
            outer_bias,
            head_norms,
            attention_norm,
            feed_forward_norm,
        })
    }
}

impl Plan {
    /// The plan of `model` under `resolved`.
    pub fn new(
        model: &dyn Architecture,
        resolved: &Resolved,
        family: Family,
        (shape, head, scales): (&BlockShape, &MlmHead, &Scales),
    ) -> Result<Self> {
        let width = shape.width;
        let mut build = Builder {
            model,
            resolved,
            matrices: Vec::new(),
            vectors: Vec::new(),
            vector_total: 0,
            packed_total: 0,
        };
        let token = build.table("embedding.token")?;
        let tables = family.positions.is_some();
        let position = tables.then(|| build.table("embedding.position")).transpose()?;
        let types = build.has("embedding.type");
        let kind = types.then(|| build.vector("embedding.type", width, 1.0)).transpose()?;
        let steps = build.has("embedding.step").then_some(family.depth * width);
        let steps = steps.map(|size| build.vector("embedding.step", size, 1.0)).transpose()?;
        let embedding_norm = build.optional_norm("embedding.norm", width)?;
        let mut blocks = Vec::new();
        for index in 0..if family.shared { 1 } else { family.depth } {
            let prefix = if family.shared { "block".to_owned() } else { format!("layers.{index}") };
            blocks.push(build.block(&prefix, index, shape, scales.residual)?);
        }
        let final_norm = build.optional_norm("final_norm", width)?;
        let dense = (width, width);
        let head_dense = build.matrix("head.dense.weight", dense, 1.0, Site::HeadDense)?;
        let head_bias = build.vector("head.dense.bias", width, 1.0)?;
        let head_norm = build.norm("head.norm", width)?;
        let (decoder, scale) = if head.tied {
            ("embedding.token", scales.tied_logits)
        } else {
            ("head.decoder.weight", 1.0)
        };
        let decoder = build.matrix(decoder, (head.vocab, width), scale, Site::Decoder)?;
        let decoder_bias = build.vector("head.decoder.bias", head.vocab, 1.0)?;
        order::link(&mut build.matrices, &blocks, family.shared);
        Ok(Self {
            family,
            vocab: head.vocab,
            width,
            heads: shape.heads,
            head_dim: shape.head_dim,
            inner: shape.feed_forward_width,
            inner_parts: if shape.activation == Activation::Swiglu { 2 } else { 1 },
            epsilon: shape.norm_eps as f32,
            attention_scale: scales.attention as f32,
            matrices: build.matrices,
            vectors: build.vectors,
            token,
            position,
            kind,
            steps,
            embedding_norm,
            injection: shape.injection.then_some(scales.residual as f32),
            final_norm,
            blocks,
            head_dense,
            head_bias,
            head_norm,
            decoder,
            decoder_bias,
            parameter_total: model.layout().total(),
            vector_total: build.vector_total,
            packed_total: build.packed_total,
            recompute: false,
            precision: Precision::F32,
            restrict_last: true,
        })
    }

    /// The block applied at `step`.
    pub fn block(&self, step: usize) -> &Block {
        &self.blocks[if self.family.shared { 0 } else { step }]
    }

    /// Matrices of the blocks and the head's dense layer: all but the decoder, in layout order.
    pub fn body(&self) -> &[Matrix] {
        &self.matrices[..self.decoder]
    }

    /// Matrices of the block applied at `step`.
    pub fn block_matrices(&self, step: usize) -> &[Matrix] {
        let block = self.block(step);
        &self.matrices[block.projections[0]..=block.outer]
    }

    /// Whether only the input of every block is kept, and its other values are computed again.
    ///
    /// A block that is applied several times is left out: the gradient of its weights is summed in
    /// the order of the steps, the backward pass meets them the other way round, and another order
    /// would give other bits. A single block has nothing that could be dropped meanwhile.
    pub fn checkpoints(&self) -> bool {
        self.recompute && !self.family.shared && self.family.depth > 1
    }

    /// Whether queries and keys are normalised.
    pub fn head_norms(&self) -> bool {
        self.blocks[0].head_norms.is_some()
    }

    /// Whether attention probabilities are computed again, and nothing else.
    pub fn drops_probabilities(&self) -> bool {
        self.recompute && !self.checkpoints()
    }

    /// Records of applications that a chunk has room for.
    pub fn records(&self) -> usize {
        if self.checkpoints() { 1 } else { self.family.depth }
    }
}
