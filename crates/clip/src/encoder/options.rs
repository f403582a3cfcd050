//! How an encoder is to run, and the provider that this leads to.

use std::fmt;
use std::str::FromStr;

use crate::ModelError;

/// How an encoder is to run.
#[derive(Clone, Copy, Debug, Default)]
pub struct EncoderOptions {
    /// Threads within an operation; 0 for all that the process may use.
    pub threads: usize,
    /// The precision of the computation.
    pub precision: Precision,
}

/// The precision of the computation. What an encoder really has stands in its identity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// The fastest whose vectors may stand beside fp32 ones.
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

impl Precision {
    const ALL: [(Self, &str); 5] =
        [(Self::Auto, "auto"), (Self::Fp32, "fp32"), (Self::Bf16, "bf16"), (Self::Int8, "int8"), (Self::Fp16, "fp16")];
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, name) = Self::ALL.iter().find(|(precision, _)| precision == self).expect("every precision has a name");
        f.pad(name)
    }
}

impl FromStr for Precision {
    type Err = UnknownPrecision;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.iter().find(|(_, name)| name.eq_ignore_ascii_case(text));
        found.map(|&(precision, _)| precision).ok_or_else(|| UnknownPrecision(text.into()))
    }
}

/// A word that names no precision.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no precision: use auto, fp32, bf16, int8 or fp16")]
pub struct UnknownPrecision(String);

/// What computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// ONNX Runtime's own kernels.
    Cpu,
}

impl Provider {
    /// The provider for `options`, and the precision that it gives.
    pub fn choose(options: &EncoderOptions) -> Result<(Self, Precision), ModelError> {
        match options.precision {
            Precision::Auto | Precision::Fp32 => Ok((Self::Cpu, Precision::Fp32)),
            precision => Err(ModelError::Precision { precision }),
        }
    }

    /// Its name in metadata.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precisions_are_read_as_they_are_written() {
        for (precision, name) in Precision::ALL {
            assert_eq!(name.parse::<Precision>().unwrap(), precision);
            assert_eq!(precision.to_string(), name);
        }
        assert!("fp8".parse::<Precision>().unwrap_err().to_string().contains("auto, fp32"));
    }

    #[test]
    fn a_precision_that_is_not_there_is_refused_not_replaced() {
        let options = EncoderOptions { precision: Precision::Bf16, ..Default::default() };
        let error = Provider::choose(&options).unwrap_err().to_string();
        assert!(error.contains("bf16 is not available on this machine with this runtime"), "{error}");
    }
}
