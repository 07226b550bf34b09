//! A session's contents on their way to the record: the one place where they are masked.

use std::sync::Arc;

use serde_json::Value;
use uuid::Uuid;

use super::{Commitments, MaskKey, Masked, ObjectMasker, Piece, Rules, TextMasker};
use crate::record::{ApprovalStep, Content, FinishedContent, OutputContent, OutputData, StartContent};

/// Masks the contents of one session, in their order.
#[derive(Debug)]
pub struct ContentMasker {
    rules: Arc<Rules>,
    commitments: Commitments,
    text: TextMasker,
    errors: TextMasker,
    objects: ObjectMasker,
    /// Secrets in the newest permitted line, which a question to the operator may repeat.
    asked: Vec<String>,
}

type Pass = (Content, Vec<Masked>);

impl ContentMasker {
    /// The contents of `session`.
    #[must_use]
    pub fn new(rules: Arc<Rules>, key: MaskKey, session: Uuid) -> Self {
        Self {
            text: TextMasker::new(Arc::clone(&rules)),
            errors: TextMasker::new(Arc::clone(&rules)),
            objects: ObjectMasker::new(Arc::clone(&rules)),
            commitments: Commitments::new(key, session),
            asked: Vec::new(),
            rules,
        }
    }

    /// How many places were masked so far.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.commitments.count()
    }

    /// The content of record 0, with what was masked in it.
    pub fn start(&mut self, mut start: StartContent) -> (StartContent, Vec<Masked>) {
        let mut masked = Vec::new();
        for text in [&mut start.reason, &mut start.granted_by, &mut start.client] {
            self.text_of(text, &[], &mut masked);
        }
        (start, masked)
    }

    /// What may go on record for `content`, with what was masked in it. Output may be held back, and comes with what follows;
    /// the end of an operation, or of the session, releases all of it first.
    pub fn pass(&mut self, content: Content) -> Vec<Pass> {
        match content {
            Content::Start(start) => {
                let (start, masked) = self.start(start);
                vec![(Content::Start(start), masked)]
            }
            Content::Output(output) => self.output(output),
            Content::Finished(finished) => self.finished(finished),
            other => vec![self.whole(other)],
        }
    }

    fn output(&mut self, OutputContent { invocation, data }: OutputContent) -> Vec<Pass> {
        let commitments = &mut self.commitments;
        match data {
            OutputData::Text(text) if self.text.passes(&text) => {
                vec![(
                    Content::Output(OutputContent { invocation, data: OutputData::Text(text) }),
                    Vec::new(),
                )]
            }
            OutputData::Text(text) => {
                outputs(invocation, OutputData::Text, self.text.push(&text, commitments))
            }
            OutputData::Objects(text) => {
                outputs(invocation, OutputData::Objects, self.objects.push(&text, commitments))
            }
            OutputData::Error(text) => {
                outputs(invocation, OutputData::Error, self.errors.push(&text, commitments))
            }
        }
    }

    fn finished(&mut self, mut finished: FinishedContent) -> Vec<Pass> {
        let invocation = finished.invocation;
        let commitments = &mut self.commitments;
        let mut all = outputs(invocation, OutputData::Text, self.text.finish(commitments));
        all.extend(outputs(invocation, OutputData::Objects, self.objects.finish(commitments)));
        all.extend(outputs(invocation, OutputData::Error, self.errors.finish(commitments)));
        let mut masked = Vec::new();
        let secrets = std::mem::take(&mut self.asked);
        self.text_of(&mut finished.message, &secrets, &mut masked);
        all.push((Content::Finished(finished), masked));
        all
    }

    /// Everything but output comes whole.
    fn whole(&mut self, mut content: Content) -> Pass {
        let mut masked = Vec::new();
        match &mut content {
            Content::Request(request) => {
                // In the plan a value stands apart from the name that tells what it is.
                let secrets = self.rules.secrets(&request.line);
                self.text_of(&mut request.line, &[], &mut masked);
                self.value(&mut request.plan, &secrets, &mut masked);
                self.asked = secrets;
            }
            Content::Refusal(refusal) => {
                let secrets = self.rules.secrets(&refusal.line);
                self.text_of(&mut refusal.line, &[], &mut masked);
                self.text_of(&mut refusal.message, &secrets, &mut masked);
            }
            Content::Approval(approval) => match &mut approval.step {
                ApprovalStep::Asked { summary, details, .. } => {
                    let secrets = std::mem::take(&mut self.asked);
                    self.text_of(summary, &secrets, &mut masked);
                    self.value(details, &secrets, &mut masked);
                    self.asked = secrets;
                }
                ApprovalStep::Declined { reason, .. } => self.text_of(reason, &[], &mut masked),
                ApprovalStep::Approved { .. } | ApprovalStep::Unanswered => {}
            },
            Content::Note(note) => self.text_of(&mut note.text, &[], &mut masked),
            Content::End(end) => self.text_of(&mut end.message, &[], &mut masked),
            Content::Start(_)
            | Content::Output(_)
            | Content::Finished(_)
            | Content::Interrupt(_)
            | Content::Receipt => {}
        }
        (content, masked)
    }

    fn text_of(&mut self, text: &mut String, secrets: &[String], masked: &mut Vec<Masked>) {
        let piece = self.rules.mask_also(text, secrets, &mut self.commitments);
        *text = piece.text;
        masked.extend(piece.masked);
    }

    fn value(&mut self, value: &mut Value, secrets: &[String], masked: &mut Vec<Masked>) {
        match value {
            Value::String(text) => self.text_of(text, secrets, masked),
            Value::Array(values) => values.iter_mut().for_each(|value| self.value(value, secrets, masked)),
            Value::Object(values) => values.values_mut().for_each(|value| self.value(value, secrets, masked)),
            Value::Number(number) if secrets.contains(&number.to_string()) => {
                let mut text = number.to_string();
                self.text_of(&mut text, secrets, masked);
                *value = Value::String(text);
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

fn outputs(invocation: u64, data: fn(String) -> OutputData, pieces: Vec<Piece>) -> Vec<Pass> {
    let output =
        |piece: Piece| (Content::Output(OutputContent { invocation, data: data(piece.text) }), piece.masked);
    pieces.into_iter().map(output).collect()
}
