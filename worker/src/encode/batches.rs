//! The third stage: pictures come together to batches, the model encodes them, and their vectors go into their chunks.
//! Where memory runs short, batches are smaller for the rest of the run: better slow than killed.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use anyhow::{Context, Result};
use clip::{Embedding, ImageEncoder, ModelError, NotAVector};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use protocol::{Event, FailureKind};

use super::chunks::{Assembly, Complete};
use super::read::{Decoded, Seen};
use super::stages::Stage;
use super::{BATCHES_AHEAD, Setup, Shared, Task, pixel_bytes};
use crate::memory;
use crate::report::Report;
use crate::work::Work;

/// How long the encoder waits for a batch to fill before it looks whether more can come.
const BATCH_WAIT: Duration = Duration::from_millis(20);

/// Pictures to be encoded together, and their pixels, one behind the other.
#[derive(Default)]
struct Batch {
    pictures: Vec<(Task, Seen)>,
    pixels: Vec<f32>,
}

/// Encodes pictures, and sorts results back into their chunks. Tells how many it took at once in the end.
pub fn batches(
    setup: &Setup,
    mut encoder: ImageEncoder,
    work: &Work,
    report: &Report,
    shared: &Shared,
    decoded: &Receiver<Decoded>,
    to_write: Sender<Complete>,
) -> Result<usize> {
    let mut assembly = Assembly::new(setup, work, shared, to_write);
    let mut batch = Batch::default();
    let mut resident_before = u64::MAX;
    shared.pixels.resize(pixel_bytes(setup.model, BATCHES_AHEAD * encoder.batch()));
    let smaller = |encoder: ImageEncoder, why: String| {
        let size = encoder.batch() / 2;
        report.event(&Event::Warning { message: format!("{why}: from now on batches are of {size} pictures") });
        shared.pixels.resize(pixel_bytes(setup.model, BATCHES_AHEAD * size));
        encoder.with_batch(setup.model, &setup.options, size)
    };
    loop {
        // Those in the batch are under way too.
        let to_come = shared.under_way.load(SeqCst) > batch.pictures.len();
        let waits = if to_come { Stage::Wait } else { Stage::Idle };
        let next = shared.clock.time(waits, || decoded.recv_timeout(BATCH_WAIT));
        if work.stopped() {
            return Ok(encoder.batch());
        }
        let mut last = false;
        match next {
            Ok(Decoded { task, result }) => {
                match result {
                    Ok((seen, pixels)) => {
                        batch.pixels.extend(pixels.values);
                        batch.pictures.push((task, seen));
                    }
                    Err((kind, detail)) => assembly.fail(&task, kind, detail)?,
                }
                if batch.pictures.len() < encoder.batch() {
                    continue;
                }
            }
            Err(RecvTimeoutError::Timeout)
                if batch.pictures.is_empty() || shared.under_way.load(SeqCst) > batch.pictures.len() =>
            {
                continue;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => last = true,
        }
        let result = loop {
            match shared.clock.time(Stage::Encode, || encoder.encode(&batch.pixels)) {
                Err(e) if e.is_out_of_memory() && encoder.batch() > 1 => encoder = smaller(encoder, e.to_string())?,
                result => break result,
            }
        };
        match result {
            Ok(vectors) => batch.accept(vectors, &mut assembly)?,
            Err(whole) => batch.one_by_one(whole, &mut encoder, setup, &mut assembly)?,
        }
        if last {
            return Ok(encoder.batch());
        }
        // The estimate was too low; what the runtime holds now it would hold to the end. Where smaller batches have given
        // next to nothing back, it is not theirs.
        if let (Some(budget), Some(resident)) = (setup.options.memory, memory::resident())
            && resident > budget.bytes
            && resident < resident_before / 16 * 15
            && encoder.batch() > 1
        {
            resident_before = resident;
            let [has, may] = [resident, budget.bytes].map(|bytes| bytes as f64 / 1e9);
            batch = Batch::default();
            encoder = smaller(encoder, format!("{has:.2} GB of memory are in use, {may:.2} are allowed"))?;
        }
    }
}

impl Batch {
    /// Sorts vectors, one a picture, back into chunks.
    fn accept(&mut self, vectors: Vec<Result<Embedding, NotAVector>>, assembly: &mut Assembly) -> Result<()> {
        self.pixels.clear();
        for ((task, seen), vector) in self.pictures.drain(..).zip(vectors) {
            match vector {
                Ok(embedding) => assembly.row(&task, seen, embedding)?,
                Err(e) => assembly.fail(&task, FailureKind::NoVector, e.to_string())?,
            }
        }
        Ok(())
    }

    /// After the runtime has refused the whole batch, tries each picture alone, so that one cannot fail the others; if
    /// none passes, the fault is not theirs.
    fn one_by_one(
        &mut self,
        whole: ModelError,
        encoder: &mut ImageEncoder,
        setup: &Setup,
        assembly: &mut Assembly,
    ) -> Result<()> {
        let pictures = self.pixels.chunks(setup.model.preprocess().values());
        let alone: Vec<_> = pictures.map(|pixels| encoder.encode(pixels)).collect();
        if alone.iter().all(Result::is_err) {
            return Err(whole).context("the model encodes no picture any more");
        }
        self.pixels.clear();
        for ((task, seen), result) in self.pictures.drain(..).zip(alone) {
            match result.map(|mut vectors| vectors.pop()) {
                Ok(Some(Ok(embedding))) => assembly.row(&task, seen, embedding)?,
                Ok(Some(Err(e))) => assembly.fail(&task, FailureKind::NoVector, e.to_string())?,
                Ok(None) => assembly.fail(&task, FailureKind::NoVector, "the model gave no vector".into())?,
                Err(e) => assembly.fail(&task, FailureKind::NoVector, e.to_string())?,
            }
        }
        Ok(())
    }
}
