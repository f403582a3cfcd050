//! How much memory an encoder takes: an estimate made before anything is opened, because the kernel kills what takes too
//! much before it can say so. Pure. It errs on the upper side, for a smaller batch costs little.
//!
//! The factors are from peaks of resident memory with ViT-B/32 and ViT-L/14 of true shape, 1 to 256 pictures at once.

use super::choice::Choice;
use super::options::{EncoderOptions, Precision, Provider};
use crate::Model;
use crate::config::VisionConfig;

/// Memory for an encoder and for its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryBudget {
    /// Bytes that the process may take.
    pub bytes: u64,
    /// Of these, what the caller keeps for itself.
    pub beside: u64,
    /// And what it keeps for each picture of a batch.
    pub beside_per_picture: u64,
}

/// What an encoder takes, in bytes, the bare process included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Footprint {
    fixed: u64,
    per_picture: u64,
}

impl Footprint {
    /// Of `model` on `choice`.
    pub fn of(model: &Model, choice: Choice) -> Self {
        let graph = model.vision(choice.precision == Precision::Int8);
        Self::estimate(choice, graph.bytes(), model.vision_config(), model.preprocess().values() as u64)
    }

    /// Of a graph of so many bytes, for pictures of `values` values, 3·H·W.
    fn estimate(choice: Choice, graph_bytes: u64, vision: &VisionConfig, values: u64) -> Self {
        let (pixels, activations) = (4 * values, activations(vision, values / 3));
        // Weights in percent of the graph's file, the rest of the process, and a picture.
        let (weights, rest, per_picture) = match (choice.provider, choice.precision) {
            // ONNX Runtime's weights, OpenVINO's own, and one more while it compiles, into whose place the activations
            // go. The input is copied.
            (Provider::OpenVino, _) => (305, 100 << 20, pixels + activations * 3 / 10),
            // What is computed with lies on the card. Not measured.
            (Provider::Cuda, _) => (200, 1 << 30, 0),
            (_, Precision::Int8) => (150, 80 << 20, activations),
            _ => (130, 70 << 20, activations),
        };
        Self { fixed: graph_bytes * weights / 100 + rest, per_picture }
    }

    /// What it needs, if that is more than there is even for one picture at a time.
    pub fn excess(self, options: &EncoderOptions) -> Option<String> {
        let budget = options.memory?;
        (self.bytes(1, budget) > budget.bytes).then(|| self.needs(1, budget))
    }

    /// The pictures at once that the options ask for, or as many as fit and why they are fewer; at least 1.
    pub fn batch(self, options: &EncoderOptions) -> (usize, Option<String>) {
        let asked = options.batch;
        let Some(budget) = options.memory.filter(|&budget| self.bytes(asked, budget) > budget.bytes) else {
            return (asked, None);
        };
        let left = budget.bytes.saturating_sub(self.bytes(0, budget));
        let batch = (left / (self.per_picture + budget.beside_per_picture).max(1)).max(1) as usize;
        let why = || {
            format!(
                "batches are of {batch} instead of {asked} pictures, for which the worker needs {}",
                self.needs(asked, budget)
            )
        };
        (batch, (batch < asked).then(why))
    }

    fn bytes(self, batch: usize, budget: MemoryBudget) -> u64 {
        self.fixed + budget.beside + batch as u64 * (self.per_picture + budget.beside_per_picture)
    }

    fn needs(self, batch: usize, budget: MemoryBudget) -> String {
        let gb = |bytes: u64| bytes as f64 / 1e9;
        format!("about {:.2} GB of memory and may use {:.2}", gb(self.bytes(batch, budget)), gb(budget.bytes))
    }
}

/// Bytes of a picture's intermediate values in fp32 where most of them live at once: behind a layer's widening, or in its
/// attention if there are many tokens.
fn activations(vision: &VisionConfig, pixels: u64) -> u64 {
    let VisionConfig { hidden_size, intermediate_size, num_attention_heads, .. } = *vision;
    let tokens = vision.tokens(pixels);
    // The residual, its norm, and x, sigmoid(1.702x) and their product of QuickGELU.
    let widened = tokens * (2 * hidden_size + 3 * intermediate_size);
    // The residual, query, key, value and their sum; scores before and after the softmax.
    let attention = tokens * 5 * hidden_size + 2 * num_attention_heads * tokens * tokens;
    4 * widened.max(attention)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PICTURE: u64 = 3 * 224 * 224;
    const BF16: Choice = Choice { provider: Provider::OpenVino, precision: Precision::Bf16 };
    const INT8: Choice = Choice { provider: Provider::Cpu, precision: Precision::Int8 };

    #[test]
    fn the_estimate_is_near_what_was_measured_and_seldom_below() {
        let b32 = VisionConfig::default();
        let l14 = VisionConfig { patch_size: 14, hidden_size: 1024, intermediate_size: 4096, num_attention_heads: 16 };
        // The graph and the peak in MB, a batch's pixels included.
        for (choice, vision, graph, batch, measured) in [
            (Choice::REFERENCE, b32, 351, 32, 561),
            (Choice::REFERENCE, b32, 351, 256, 1159),
            (INT8, b32, 96, 32, 294),
            (INT8, b32, 96, 256, 889),
            (BF16, b32, 351, 32, 1195),
            (BF16, b32, 351, 256, 1320),
            (Choice::REFERENCE, l14, 1215, 8, 1952),
            (Choice::REFERENCE, l14, 1215, 64, 2868),
            (BF16, l14, 1215, 8, 3802),
            (BF16, l14, 1215, 64, 4004),
        ] {
            let budget = MemoryBudget { bytes: 0, beside: 0, beside_per_picture: 4 * PICTURE };
            let bytes = Footprint::estimate(choice, graph * 1_000_000, &vision, PICTURE).bytes(batch, budget);
            let ratio = bytes as f64 / f64::from(measured) / 1e6;
            assert!((0.9..1.4).contains(&ratio), "{choice} {vision:?} {batch}: {ratio:.2} of {measured} MB");
        }
    }

    #[test]
    fn a_batch_is_as_large_as_asked_if_it_fits_and_else_as_large_as_fits() {
        let footprint = Footprint { fixed: 700, per_picture: 6 };
        let with = |batch, bytes| EncoderOptions {
            batch,
            memory: Some(MemoryBudget { bytes, beside: 300, beside_per_picture: 4 }),
            ..Default::default()
        };
        let batch = |asked, bytes| footprint.batch(&with(asked, bytes)).0;
        assert_eq!((batch(8, 2000), batch(256, 2000), batch(256, 1010), batch(256, 1009)), (8, 100, 1, 1));
        assert_eq!((batch(0, 2000), batch(100, 2000), batch(1, 10)), (0, 100, 1));
        let excess = |bytes| footprint.excess(&with(256, bytes));
        assert!(excess(1010).is_none() && excess(1009).is_some() && excess(10).is_some());
        let unlimited = EncoderOptions { batch: 4096, ..Default::default() };
        assert_eq!((footprint.batch(&unlimited), footprint.excess(&unlimited)), ((4096, None), None));
        let why = footprint.batch(&with(256, 2000)).1.unwrap();
        assert!(why.starts_with("batches are of 100 instead of 256 pictures"), "{why}");
    }
}
