//! How an encoder is to run, as a person says it.

use std::fmt;
use std::str::FromStr;

use super::memory::MemoryBudget;

/// How an encoder for pictures is to run.
#[derive(Clone, Copy, Debug)]
pub struct EncoderOptions {
    /// Threads within an operation; 0 for all that the process may use.
    pub threads: usize,
    /// What is to compute.
    pub provider: Provider,
    /// The precision of the computation.
    pub precision: Precision,
    /// Pictures to encode at once; 0 for as many as are quickest. OpenVINO compiles the model for just this number, which
    /// takes a third less memory and time than for any number; fewer are filled up.
    pub batch: usize,
    /// Memory that it may take; none for all it likes. `Auto` passes over what takes more, and the batch becomes as
    /// small as it must.
    pub memory: Option<MemoryBudget>,
    /// How far the golden pictures' vectors may be from what they must be, as a share of the median distance between
    /// two of them. An encoder that is further off is not given out.
    pub max_deviation: f64,
}

impl EncoderOptions {
    /// The bound within which vectors may stand in one index.
    pub const MAX_DEVIATION: f64 = 0.05;
}

impl Default for EncoderOptions {
    fn default() -> Self {
        Self {
            threads: 0,
            provider: Provider::Auto,
            precision: Precision::Auto,
            batch: 0,
            memory: None,
            max_deviation: Self::MAX_DEVIATION,
        }
    }
}

/// What computes. What an encoder really has stands in its identity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Provider {
    /// The fastest that this machine and its ONNX Runtime have.
    #[default]
    Auto,
    /// ONNX Runtime's own kernels, the reference.
    Cpu,
    /// OpenVINO on the processor.
    OpenVino,
    /// An NVIDIA card. Not tried by the authors.
    Cuda,
    /// A Mac's own accelerators. Not tried by the authors.
    CoreMl,
}

/// The precision of the computation. What an encoder really has stands in its identity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// The fastest that stays within the bound of deviation; never int8, which is asked for by name.
    #[default]
    Auto,
    /// 32-bit floats, the reference.
    Fp32,
    /// Matrices in bfloat16.
    Bf16,
    /// Matrices in 8-bit integers.
    Int8,
    /// Matrices in 16-bit floats.
    Fp16,
}

impl Provider {
    const WHAT: &str = "provider";
    const ALL: [(Self, &str); 5] = [
        (Self::Auto, "auto"),
        (Self::Cpu, "cpu"),
        (Self::OpenVino, "openvino"),
        (Self::Cuda, "cuda"),
        (Self::CoreMl, "coreml"),
    ];
}

impl Precision {
    const WHAT: &str = "precision";
    const ALL: [(Self, &str); 5] =
        [(Self::Auto, "auto"), (Self::Fp32, "fp32"), (Self::Bf16, "bf16"), (Self::Int8, "int8"), (Self::Fp16, "fp16")];
}

/// A word that names no provider or no precision.
#[derive(Debug, thiserror::Error)]
#[error("{word:?} is no {what}: use {known}")]
pub struct UnknownWord {
    word: String,
    what: &'static str,
    known: String,
}

macro_rules! words {
    ($kind:ty) => {
        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let (_, name) = Self::ALL.iter().find(|(one, _)| one == self).expect("each has a name");
                f.pad(name)
            }
        }

        impl FromStr for $kind {
            type Err = UnknownWord;

            fn from_str(word: &str) -> Result<Self, Self::Err> {
                let found = Self::ALL.iter().find(|(_, name)| name.eq_ignore_ascii_case(word));
                found.map(|&(one, _)| one).ok_or_else(|| UnknownWord {
                    word: word.into(),
                    what: Self::WHAT,
                    known: Self::ALL.map(|(_, name)| name).join(", "),
                })
            }
        }
    };
}

words!(Provider);
words!(Precision);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_are_written() {
        for (precision, name) in Precision::ALL {
            assert_eq!(name.parse::<Precision>().unwrap(), precision);
            assert_eq!(precision.to_string(), name);
        }
        for (provider, name) in Provider::ALL {
            assert_eq!(name.to_uppercase().parse::<Provider>().unwrap(), provider);
            assert_eq!(provider.to_string(), name);
        }
        assert!("fp8".parse::<Precision>().unwrap_err().to_string().contains("is no precision: use auto, fp32"));
        assert!("tpu".parse::<Provider>().unwrap_err().to_string().contains("is no provider: use auto, cpu"));
    }
}
