//! Stages of the engine on their own, for [`kernels`](crate::kernels).

use super::beliefs::{
    Labels, SavedLabels, Topics, labels, labels_backward, topics, topics_backward,
};
use super::heads::{Scratch, Task, saved_tiles};
use super::lane::{label_constants, topic_constants};
use super::plan::Plan;
use super::rotary::Table;
use crate::error::Result;
use crate::kernels::numbers;
use crate::parametrization::Resolved;
use crate::pt2026::Pt2026;

/// Head selection of one channel in one sequence.
pub struct HeadSelection {
    plan: Plan,
    table: Table,
    length: usize,
    projected: Vec<f32>,
    tiles: Vec<f32>,
    posterior: Vec<f32>,
    scratch: Scratch,
    h: Vec<f32>,
    d_h: Vec<f32>,
}

impl HeadSelection {
    /// For a sequence of `length` words of `model`.
    pub fn new(model: &Pt2026, resolved: &Resolved, length: usize) -> Result<Self> {
        let plan = Plan::new(model, resolved)?;
        let (mut table, mut scratch) = (Table::default(), Scratch::default());
        table.extend(length, plan.rank, plan.rope_theta);
        scratch.reserve(&plan, length);
        let wide = length * plan.stacked;
        let mut selection = Self {
            length,
            projected: numbers(wide, 1),
            tiles: vec![0.0; saved_tiles(&plan) * length * plan.rank],
            posterior: vec![0.0; length * length],
            scratch,
            h: vec![0.0; wide],
            d_h: numbers(wide, 2),
            plan,
            table,
        };
        selection.forward();
        Ok(selection)
    }

    /// Rotation, scores, mask, softmax, both messages.
    pub fn forward(&mut self) {
        let Self { plan, table, length, .. } = self;
        let task = Task { plan, table, words: None, length: *length, channel: 0 };
        let (tiles, posterior) = (&mut self.tiles, &mut self.posterior);
        task.forward(&self.projected, tiles, posterior, &mut self.scratch, &mut self.h);
    }

    /// From the gradient of both messages to that of the projected beliefs.
    pub fn backward(&mut self) {
        let Self { plan, table, length, .. } = self;
        let task = Task { plan, table, words: None, length: *length, channel: 0 };
        task.backward((&self.tiles, &self.posterior), &self.d_h, &mut self.scratch, &mut self.h);
    }
}

/// Normalisers of labels and topics over some rows.
pub struct Normalisers {
    labels: Labels,
    topics: Topics,
    keep: f32,
    z: Vec<f32>,
    x: Vec<f32>,
    label_sums: Vec<f32>,
    d_x: Vec<f32>,
    d_z: Vec<f32>,
    scores: Vec<f32>,
    h: Vec<f32>,
    topic_sums: Vec<f32>,
    d_h: Vec<f32>,
    d_scores: Vec<f32>,
}

impl Normalisers {
    /// For `rows` words of `model`.
    pub fn new(model: &Pt2026, resolved: &Resolved, rows: usize) -> Result<Self> {
        let plan = Plan::new(model, resolved)?;
        let (narrow, wide) = (rows * plan.width, rows * plan.stacked);
        let mut normalisers = Self {
            labels: label_constants(&plan),
            topics: topic_constants(&plan),
            keep: plan.damping,
            z: numbers(narrow, 3),
            x: vec![0.0; narrow],
            label_sums: vec![0.0; rows],
            d_x: numbers(narrow, 4),
            d_z: vec![0.0; narrow],
            scores: numbers(wide, 5),
            h: vec![0.0; wide],
            topic_sums: vec![0.0; rows],
            d_h: numbers(wide, 6),
            d_scores: vec![0.0; wide],
        };
        normalisers.labels();
        normalisers.topics();
        Ok(normalisers)
    }

    /// Scores of labels to beliefs.
    pub fn labels(&mut self) {
        labels(&self.labels, &self.z, &mut self.x, &mut self.label_sums);
    }

    /// Gradient of beliefs, added to the damped one of scores.
    pub fn labels_backward(&mut self) {
        let saved = SavedLabels { z: &self.z, x: &self.x, sums: &self.label_sums };
        labels_backward(&self.labels, &saved, &self.d_x, self.keep, &mut self.d_z);
    }

    /// Scores of topics to what they send.
    pub fn topics(&mut self) {
        topics(&self.topics, &self.scores, &mut self.h, &mut self.topic_sums);
    }

    /// Gradient of what topics send to that of their scores.
    pub fn topics_backward(&mut self) {
        let saved = (&self.h[..], &self.topic_sums[..]);
        topics_backward(&self.topics, saved, &self.d_h, &mut self.d_scores);
    }
}
