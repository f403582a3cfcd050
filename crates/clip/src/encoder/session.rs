//! A session on one of a model's two graphs: opened, its inputs and outputs checked, run.

use std::thread::available_parallelism;

use ort::ep::{self, ArbitrarilyConfigurableExecutionProvider};
use ort::session::builder::SessionBuilder;
use ort::session::{Session, SessionInputValue};
use ort::value::{Outlet, TensorElementType};

use super::choice::Choice;
use super::options::{Precision, Provider};
use crate::ModelError;
use crate::model::Graph;
use crate::runtime::environment;

/// An open graph with the one output that is wanted of it.
#[derive(Debug)]
pub struct Encoder {
    session: Session,
    output: String,
    /// Names the graph in errors.
    pub file: String,
    /// What computes.
    pub choice: Choice,
    /// Threads that compute.
    pub threads: usize,
}

impl Encoder {
    /// Opens `graph`; `output` tells its embedding, `shape` the only one that its input will have, as
    /// `pixel_values[8,3,224,224]`, if that is known.
    pub fn open(
        graph: &Graph,
        output: Output,
        choice: Choice,
        threads: usize,
        shape: Option<String>,
    ) -> Result<Self, ModelError> {
        let environment = environment()?;
        let file = graph.to_string();
        let threads = match threads {
            0 => available_parallelism().map_or(1, |n| n.get()),
            n => n,
        };
        let open = || -> ort::Result<Session> {
            let mut builder = with_provider(Session::builder(environment)?, choice, threads, shape)?;
            match graph {
                Graph::File(path) => builder.commit_from_file(path),
                Graph::BuiltIn(_, bytes) => builder.commit_from_memory(bytes),
            }
        };
        let session = open().map_err(|e| ModelError::unusable(&file, format!("cannot be opened on {choice}: {e}")))?;
        let output = find_output(&session, output).map_err(|e| ModelError::unusable(&file, e))?;
        Ok(Self { session, output, file, choice, threads })
    }

    /// The input of this name.
    pub fn input(&self, name: &str) -> Option<&Outlet> {
        self.session.inputs().iter().find(|input| input.name() == name)
    }

    /// The input of this name, its element type and shape (-1 for what is not fixed); an error if there is none.
    pub fn required(&self, name: &str) -> Result<(TensorElementType, Vec<i64>), ModelError> {
        let found = self.input(name).and_then(tensor);
        found.ok_or_else(|| self.unusable(format!("has no input {name}, but {}", names(self.session.inputs()))))
    }

    /// An error if there are inputs beside those `known`.
    pub fn no_input_but(&self, known: &[&str]) -> Result<(), ModelError> {
        match self.session.inputs().iter().find(|input| !known.contains(&input.name())) {
            None => Ok(()),
            Some(other) => Err(self.unusable(format!("wants an input {:?}, which no CLIP encoder has", other.name()))),
        }
    }

    /// An error that names the graph.
    pub fn unusable(&self, detail: impl ToString) -> ModelError {
        ModelError::unusable(&self.file, detail)
    }

    /// D as the graph declares it; none if it leaves it open.
    pub fn declared_dim(&self) -> Option<usize> {
        let output = self.session.outputs().iter().find(|o| o.name() == self.output)?;
        let (_, shape) = tensor(output)?;
        usize::try_from(shape[1]).ok().filter(|&d| d > 0)
    }

    /// Runs a batch: rows f32 [batch, D], one after the other, and D.
    pub fn run(
        &mut self,
        inputs: Vec<(&str, SessionInputValue<'_>)>,
        batch: usize,
    ) -> Result<(Vec<f32>, usize), ModelError> {
        let failed = |e: ort::Error| ModelError::Run { file: self.file.clone(), batch, detail: e.to_string() };
        let outputs = self.session.run(inputs).map_err(failed)?;
        let (shape, values) = outputs[self.output.as_str()].try_extract_tensor::<f32>().map_err(failed)?;
        match shape[..] {
            [rows, dim] if rows == batch as i64 && dim > 0 => Ok((values.to_vec(), dim as usize)),
            _ => {
                let detail =
                    format!("gives {} of shape {shape:?} for a batch of {batch}; [{batch}, D] is wanted", self.output);
                Err(ModelError::unusable(&self.file, detail))
            }
        }
    }
}

/// Which output of a graph is the embedding.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// Its name, unless an export has only one that it could be.
    pub name: &'static str,
    /// Whether the model has projections, which come after what transformers calls `pooler_output`.
    pub projected: bool,
}

/// Has `choice` compute, and nothing else: what a provider leaves over would go to ONNX Runtime's own kernels in
/// silence. CUDA alone is let, since it leaves them the sums on shapes on purpose.
fn with_provider(
    builder: SessionBuilder,
    choice: Choice,
    threads: usize,
    shape: Option<String>,
) -> ort::Result<SessionBuilder> {
    let provider = match choice.provider {
        Provider::OpenVino => {
            // Without a hint OpenVINO takes what it likes best, which is bf16 on some processors and fp32 on others.
            let hint = if choice.precision == Precision::Bf16 { "bf16" } else { "f32" };
            let config = format!(
                r#"{{"CPU":{{"INFERENCE_PRECISION_HINT":"{hint}","INFERENCE_NUM_THREADS":"{threads}","NUM_STREAMS":"1"}}}}"#
            );
            let mut provider =
                ep::OpenVINO::default().with_device_type("CPU").with_arbitrary_config("load_config", config);
            if let Some(shape) = shape {
                provider = provider.with_arbitrary_config("reshape_input", shape);
            }
            provider.build()
        }
        Provider::Cuda => ep::CUDA::default().with_tf32(false).build(),
        Provider::CoreMl => ep::CoreML::default().build(),
        // Threads that wait by spinning would take the processors from those that decode.
        Provider::Auto | Provider::Cpu => {
            return Ok(builder.with_intra_threads(threads)?.with_intra_op_spinning(false)?);
        }
    };
    let alone = if choice.provider == Provider::Cuda { "0" } else { "1" };
    let builder = builder.with_intra_threads(1)?.with_config_entry("session.disable_cpu_ep_fallback", alone)?;
    Ok(builder.with_execution_providers([provider.error_on_failure()])?)
}

/// The output of that name, else the only f32 [N, D]: an export may name it otherwise, but where there are several,
/// only the name tells the embedding from what comes before the projection.
fn find_output(session: &Session, wanted: Output) -> Result<String, String> {
    let Output { name, projected } = wanted;
    let matrix = |o: &&Outlet| matches!(tensor(o), Some((TensorElementType::Float32, shape)) if shape.len() == 2);
    let outputs = session.outputs();
    if let Some(output) = outputs.iter().find(|o| o.name() == name) {
        return if matrix(&output) {
            Ok(name.into())
        } else {
            Err(format!("its output {name} is {}, not f32 [N, D]", output.dtype()))
        };
    }
    let matrices: Vec<&Outlet> = outputs.iter().filter(matrix).collect();
    match matrices[..] {
        [output] if projected && output.name() == "pooler_output" => Err(format!(
            "has no output {name}, and pooler_output comes before the projection: export it with its projection \
             (in transformers CLIPTextModelWithProjection and CLIPVisionModelWithProjection)"
        )),
        [output] => Ok(output.name().into()),
        _ => Err(format!("has no output {name} and not one f32 [N, D] that could be it, but {}", names(outputs))),
    }
}

fn tensor(outlet: &Outlet) -> Option<(TensorElementType, Vec<i64>)> {
    Some((outlet.dtype().tensor_type()?, outlet.dtype().tensor_shape()?.to_vec()))
}

fn names(outlets: &[Outlet]) -> String {
    outlets.iter().map(|o| format!("{} {}", o.name(), o.dtype())).collect::<Vec<_>>().join(", ")
}
