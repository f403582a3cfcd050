//! A judge of indexes that shares no code with those that make them: Python's polars and faiss, kept running because they
//! take a second to load.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::{Lab, python};

/// Knows the vectors of some pictures by their names.
pub struct Judge {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// What stands in an index, finished or not.
#[derive(Debug)]
pub struct Stood {
    /// Pictures that stand, in the generation or in parts, as they are now.
    pub pictures: u64,
    /// The paths of the current generation below the image folder, sorted.
    pub generation: Vec<String>,
    /// What is wrong with it.
    pub wrong: Vec<String>,
}

impl Judge {
    /// One that takes the vectors of this parquet file for right. The pictures' names must differ.
    pub fn new(reference: &Path) -> Self {
        let mut python = Command::new(python());
        python.arg("-c").arg(include_str!("judge.py")).arg(reference);
        let mut child = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("Python can be started");
        let ask = child.stdin.take().expect("it is piped");
        let answers = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut judge = Self { child, ask, answers };
        assert_eq!(judge.answer(), "ready", "the judge has read the reference");
        judge
    }

    /// What stands in a laboratory's index, which names the image folder `root`.
    pub fn stood(&mut self, lab: &Lab, root: &Path) -> Stood {
        let question = json!({ "ask": "stood", "prefix": lab.prefix(), "images": lab.images(), "root": root });
        let answer = self.ask(&question);
        let pictures = answer["stood"].as_u64().expect("it is a number");
        Stood { pictures, generation: texts(&answer["generation"]), wrong: texts(&answer["wrong"]) }
    }

    /// What is wrong with a finished index, which is to hold these paths below the image folder, each with the vector of
    /// the picture of that name.
    pub fn judge(&mut self, lab: &Lab, root: &Path, expected: &BTreeMap<String, String>) -> Vec<String> {
        let question = json!({ "ask": "judge", "prefix": lab.prefix(), "root": root, "expected": expected });
        texts(&self.ask(&question)["wrong"])
    }

    fn ask(&mut self, question: &Value) -> Value {
        writeln!(self.ask, "{question}").expect("the judge listens");
        self.answer()
    }

    fn answer(&mut self) -> Value {
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("a pipe can be read");
        serde_json::from_str(&answer).expect("the judge answers; what it says on standard error stands above")
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        let _ = (self.child.kill(), self.child.wait());
    }
}

fn texts(list: &Value) -> Vec<String> {
    let list = list.as_array().expect("it is a list").iter();
    list.map(|text| text.as_str().expect("it holds texts").to_owned()).collect()
}
