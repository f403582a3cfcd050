//! What this machine can compute with: every pair of provider and precision there is, best first, and what a machine
//! lacks for it. Pure, but for [`Machine::here`].

use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::fmt;
use std::path::{Path, PathBuf};

use ort::ep::{self, ExecutionProvider};

use super::options::{EncoderOptions, Precision, Provider};
use crate::runtime::{environment, runtime_path};
use crate::{Model, ModelError};

/// A provider and a precision, neither of them `Auto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    pub provider: Provider,
    pub precision: Precision,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.provider, self.precision)
    }
}

/// Why a machine cannot compute in some way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lack {
    /// It is no such machine: nothing to warn of.
    Machine(&'static str),
    /// It is, but something is not installed.
    Installed(String),
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Machine(what) => f.write_str(what),
            Self::Installed(what) => f.write_str(what),
        }
    }
}

/// What a machine and its ONNX Runtime have.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    bf16: bool,
    nvidia: bool,
    mac: bool,
    openvino: bool,
    cuda: bool,
    coreml: bool,
    runtime: PathBuf,
}

impl Machine {
    /// This one.
    pub fn here() -> Result<Self, ModelError> {
        environment()?;
        let runtime = runtime_path()?;
        // A runtime that was built for a provider may have been copied here without it.
        let offers = |available: ort::Result<bool>, provider: &str| {
            let name = format!("{DLL_PREFIX}onnxruntime_providers_{provider}{DLL_SUFFIX}");
            let beside = runtime.canonicalize().unwrap_or_else(|_| runtime.clone()).with_file_name(name);
            available.unwrap_or(false) && beside.is_file()
        };
        Ok(Self {
            bf16: has_bf16(),
            nvidia: Path::new("/proc/driver/nvidia/version").exists(),
            mac: cfg!(target_os = "macos"),
            openvino: offers(ep::OpenVINO::is_available(), "openvino"),
            cuda: offers(ep::CUDA::is_available(), "cuda"),
            coreml: ep::CoreML::is_available().unwrap_or(false),
            runtime,
        })
    }

    /// What it lacks to run a model in this way; `int8` tells whether the model comes in 8-bit integers.
    pub fn lacks(&self, choice: Choice, int8: bool) -> Option<Lack> {
        let built_with = |has: bool, what: &str, how: &str| {
            let text = || format!("an ONNX Runtime with {what} ({} has none): {how}", self.runtime.display());
            (!has).then(|| Lack::Installed(text()))
        };
        match (choice.provider, choice.precision) {
            (Provider::OpenVino, Precision::Bf16) if !self.bf16 => Some(Lack::Machine(
                "a processor with AVX512-BF16, as Intel's Xeon since Cooper Lake and AMD's since Zen 4",
            )),
            (Provider::OpenVino, _) => {
                built_with(self.openvino, "OpenVINO", "`make setup` fetches one for x86-64 Linux")
            }
            (Provider::Cuda, _) if !self.nvidia => Some(Lack::Machine("an NVIDIA card and its driver")),
            (Provider::Cuda, _) => {
                built_with(self.cuda, "CUDA", "set ORT_DYLIB_PATH to that of the package onnxruntime-gpu")
            }
            (Provider::CoreMl, _) if !self.mac => Some(Lack::Machine("a Mac")),
            (Provider::CoreMl, _) => built_with(self.coreml, "CoreML", "`make setup` fetches one"),
            (_, Precision::Int8) if !int8 => {
                let files = crate::store::VISION_INT8.join(" or ");
                Some(Lack::Installed(format!("the model in 8-bit integers, as {files} in its folder")))
            }
            _ => None,
        }
    }
}

/// Whether the processor multiplies matrices in bfloat16. All that do so with AMX have AVX512-BF16 too. Elsewhere
/// OpenVINO would compute in fp32 and not say so.
fn has_bf16() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        std::arch::is_x86_feature_detected!("avx512bf16")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

impl Choice {
    /// What every vector is measured against.
    pub const REFERENCE: Self = Self { provider: Provider::Cpu, precision: Precision::Fp32 };

    /// All there are, best first. OpenVINO's fp32 is a tenth faster than ONNX Runtime's own, but takes twice the memory.
    /// What stands after the reference is only taken if the reference is not allowed.
    const ALL: [Self; 6] = [
        Self { provider: Provider::Cuda, precision: Precision::Fp32 },
        Self { provider: Provider::OpenVino, precision: Precision::Bf16 },
        Self::REFERENCE,
        Self { provider: Provider::OpenVino, precision: Precision::Fp32 },
        Self { provider: Provider::CoreMl, precision: Precision::Fp32 },
        Self { provider: Provider::Cpu, precision: Precision::Int8 },
    ];

    /// Pictures at once with which it is quickest, or nearly so, for a model that makes so many tokens of one. AMX multiplies
    /// large matrices best: with ViT-B/32, which makes 50, and two cores, 64 are 14 to 28 % faster than 8. Elsewhere there
    /// is nothing in more than 8.
    pub fn quickest_batch(self, tokens: u64) -> usize {
        const TOKENS: u64 = 64 * 50;
        if self.precision == Precision::Bf16 { (TOKENS / tokens.max(1)).clamp(8, 64) as usize } else { 8 }
    }

    /// All that `options` allow, best first.
    pub fn wanted(options: &EncoderOptions) -> Result<Vec<Self>, ModelError> {
        let fits = |c: &Self| {
            (options.provider == Provider::Auto || options.provider == c.provider)
                && (options.precision == Precision::Auto || options.precision == c.precision)
        };
        let mut wanted: Vec<Self> = Self::ALL.into_iter().filter(fits).collect();
        if let Some(reference) = wanted.iter().position(|&c| c == Self::REFERENCE) {
            wanted.truncate(reference + 1);
        }
        if wanted.is_empty() {
            let all: Vec<String> = Self::ALL.iter().map(Self::to_string).collect();
            let wanted = format!("{} {}", options.provider, options.precision).replace("auto ", "");
            return Err(ModelError::NotHere { wanted, why: format!("there are {}", all.join(", ")) });
        }
        Ok(wanted)
    }

    /// All others that this machine could run `model` with.
    pub fn others(tried: &[Self], machine: &Machine, model: &Model) -> Vec<Self> {
        let all = Self::ALL.into_iter().filter(|c| !tried.contains(c));
        all.filter(|&c| machine.lacks(c, model.has_int8()).is_none()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(provider: Provider, precision: Precision) -> Vec<String> {
        let options = EncoderOptions { provider, precision, ..Default::default() };
        Choice::wanted(&options).unwrap().iter().map(Choice::to_string).collect()
    }

    /// The first that a machine lacks nothing for, and what was missing before it.
    fn first(machine: &Machine, provider: Provider, precision: Precision) -> (Option<String>, Vec<Lack>) {
        let options = EncoderOptions { provider, precision, ..Default::default() };
        let mut lacks = Vec::new();
        for choice in Choice::wanted(&options).unwrap() {
            match machine.lacks(choice, false) {
                None => return (Some(choice.to_string()), lacks),
                Some(lack) => lacks.push(lack),
            }
        }
        (None, lacks)
    }

    #[test]
    fn auto_takes_the_best_that_is_there_and_knows_what_is_not_installed() {
        use {Precision::Auto as AnyPrecision, Provider::Auto as AnyProvider};
        let old = Machine { openvino: true, ..Default::default() };
        let new = Machine { bf16: true, ..old.clone() };
        let bare = Machine { bf16: true, ..Default::default() };
        let card = Machine { nvidia: true, cuda: true, ..new.clone() };
        let (choice, lacks) = first(&old, AnyProvider, AnyPrecision);
        assert_eq!(choice.as_deref(), Some("cpu fp32"));
        assert!(lacks.iter().all(|lack| matches!(lack, Lack::Machine(_))), "nothing to warn of: {lacks:?}");
        assert_eq!(first(&new, AnyProvider, AnyPrecision).0.as_deref(), Some("openvino bf16"));
        assert_eq!(first(&card, AnyProvider, AnyPrecision).0.as_deref(), Some("cuda fp32"));
        let (choice, lacks) = first(&bare, AnyProvider, AnyPrecision);
        assert_eq!(choice.as_deref(), Some("cpu fp32"));
        assert!(
            matches!(&lacks[..], [Lack::Machine(_), Lack::Installed(what)] if what.contains("OpenVINO")),
            "{lacks:?}"
        );
        let unused = Machine { nvidia: true, ..new };
        assert!(
            matches!(&first(&unused, AnyProvider, AnyPrecision).1[..], [Lack::Installed(what)] if what.contains("CUDA"))
        );
    }

    #[test]
    fn a_model_of_many_tokens_gets_smaller_batches() {
        let bf16 = Choice { provider: Provider::OpenVino, precision: Precision::Bf16 };
        // ViT-B/32, L/14, L/14 for 336 pixels, and the built-in model.
        assert_eq!([50, 257, 577, 17].map(|tokens| bf16.quickest_batch(tokens)), [64, 12, 8, 64]);
        assert_eq!(Choice::REFERENCE.quickest_batch(50), 8);
    }

    #[test]
    fn what_is_asked_for_is_not_replaced() {
        assert_eq!(wanted(Provider::Auto, Precision::Bf16), ["openvino bf16"]);
        assert_eq!(wanted(Provider::OpenVino, Precision::Auto), ["openvino bf16", "openvino fp32"]);
        assert_eq!(wanted(Provider::Auto, Precision::Int8), ["cpu int8"]);
        assert_eq!(wanted(Provider::Cpu, Precision::Auto), ["cpu fp32"], "int8 only by name");
        let old = Machine { openvino: true, ..Default::default() };
        let (choice, lacks) = first(&old, Provider::Auto, Precision::Bf16);
        assert!(choice.is_none() && lacks[0].to_string().contains("AVX512-BF16"), "{lacks:?}");
        assert!(first(&old, Provider::CoreMl, Precision::Auto).1[0].to_string().contains("a Mac"));
        assert!(first(&old, Provider::Auto, Precision::Int8).1[0].to_string().contains("vision_model_int8.onnx"));
        let options = EncoderOptions { precision: Precision::Fp16, ..Default::default() };
        let error = Choice::wanted(&options).unwrap_err().to_string();
        assert!(error.starts_with("fp16 is") && error.contains("openvino bf16"), "{error}");
    }
}
