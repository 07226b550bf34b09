//! The product's own engine: the published operations, planned here and run by an executor.

use std::sync::Arc;

use async_trait::async_trait;
use rs_consent::AccessLevel;

use super::engine::{Engine, Progress, RunningWork};
use crate::operations::executor::{Chunk, Executor, Running, Stream};
use crate::operations::{Availability, Catalog, Context, Limits, OutputForm, Plan, Policy};
use crate::protocol::{Form, Offered, Planned, Refused};
use crate::record::{Digest, OutputData};

/// The operations of [`crate::operations`] behind a host.
#[derive(Debug, Clone)]
pub struct OperationsEngine {
    executor: Arc<dyn Executor>,
    policy: Policy,
    limits: Limits,
}

impl OperationsEngine {
    /// The published operations, narrowed by `policy`, each within `limits`, run by `executor`.
    #[must_use]
    pub fn new(executor: Arc<dyn Executor>, policy: Policy, limits: Limits) -> Self {
        Self { executor, policy, limits }
    }

    fn context(&self, level: AccessLevel) -> Context {
        Context { policy: self.policy, limits: self.limits, ..Context::new(level) }
    }
}

#[async_trait]
impl Engine for OperationsEngine {
    type Work = Plan;

    fn plan(
        &self,
        line: &str,
        level: AccessLevel,
        form: Form,
        columns: Option<u16>,
    ) -> Result<Planned<Plan>, Refused> {
        let form = match (form, columns) {
            (Form::Objects, _) => OutputForm::Objects,
            (Form::Text, Some(width)) => OutputForm::Text { width },
            (Form::Text, None) => OutputForm::default(),
        };
        let context = Context { form, ..self.context(level) };
        let plan = context.plan_line(line).map_err(|refused| Refused {
            code: refused.code.as_str().to_owned(),
            column: Some(refused.column).filter(|column| *column > 0),
            message: refused.message,
        })?;
        let description = serde_json::to_value(&plan).unwrap_or_default();
        Ok(Planned { leaves: plan.ends_session(), work: plan, description })
    }

    fn offered(&self, level: AccessLevel) -> Vec<Offered> {
        let context = self.context(level);
        let permitted = context.catalog().permitted(level, self.policy);
        permitted
            .map(|entry| Offered {
                name: entry.name.clone(),
                parameters: entry
                    .definition
                    .iter()
                    .flat_map(|known| known.parameters)
                    .map(|one| one.name.to_owned())
                    .collect(),
                available: matches!(entry.availability(context.machine), Availability::Native),
            })
            .collect()
    }

    fn catalog_sha256(&self) -> Digest {
        Catalog::sha256().parse().unwrap_or_else(|_| Digest::of(Catalog::sha256().as_bytes()))
    }

    async fn start(&self, work: Plan) -> Result<Box<dyn RunningWork>, String> {
        let objects = work.form == OutputForm::Objects;
        match self.executor.start(work).await {
            Ok(running) => Ok(Box::new(RunningPlan { running, objects })),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// A plan that an executor runs.
struct RunningPlan {
    running: Running,
    objects: bool,
}

#[async_trait]
impl RunningWork for RunningPlan {
    async fn next(&mut self) -> Progress {
        match self.running.next().await {
            Some(Chunk { stream: Stream::Error, text }) => Progress::Output(OutputData::Error(text)),
            Some(Chunk { text, .. }) if self.objects => Progress::Output(OutputData::Objects(text)),
            Some(Chunk { text, .. }) => Progress::Output(OutputData::Text(text)),
            None => Progress::Finished(self.running.finish().await),
        }
    }

    async fn interrupt(&mut self) {
        self.running.interrupt();
    }

    async fn kill(&mut self) {
        self.running.kill().await;
    }
}
