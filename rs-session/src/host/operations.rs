//! The product's own engine: the published operations, planned here and run by an executor.
//!
//! What must wait for the operator starts as work that asks: [`Asking`] holds the plan and hands it to the executor only
//! after a Yes.

use std::sync::Arc;

use async_trait::async_trait;
use uuid::Uuid;

use super::diagnostic_data::{COMMAND, DiagnosticData, Sending};
use super::engine::{Engine, Occasion, Progress, Rights, RunningWork};
use crate::operations::catalog::UnknownVariant;
use crate::operations::critical::ServiceRules;
#[cfg(unix)]
use crate::operations::executor::RootPart;
use crate::operations::executor::{Chunk, Executor, PowerShell, Running, Stream};
use crate::operations::level_wish::{self, LevelWish};
use crate::operations::wire::{Finish, Status};
use crate::operations::{
    Catalog, Code, CommandRules, Context, Limits, Machine, OutputForm, Plan, Policy, offered,
};
use crate::protocol::{Answer, Ask, Form, Offered, Planned, Refused};
use crate::record::{ApprovalSubject, Digest, OutputData};

/// The operations of [`crate::operations`] behind a host.
#[derive(Debug, Clone)]
pub struct OperationsEngine {
    executor: Arc<dyn Executor>,
    #[cfg(unix)]
    root_part: Option<RootPart>,
    power_shell: Option<PowerShell>,
    machine: Machine,
    policy: Policy,
    services: ServiceRules,
    commands: CommandRules,
    limits: Limits,
    data: Option<DiagnosticData>,
}

/// A permitted line of this engine.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Work {
    /// Published operations.
    Plan(Box<Plan>),
    /// The engineer asks for a higher level.
    Level(LevelWish),
}

impl OperationsEngine {
    /// The published operations, each within `limits`, run by `executor`. What a session's consent leaves of them is
    /// narrowed further by `policy`, for every session.
    #[must_use]
    pub fn new(executor: Arc<dyn Executor>, policy: Policy, limits: Limits) -> Self {
        let machine = Machine::current();
        Self {
            executor,
            #[cfg(unix)]
            root_part: None,
            power_shell: None,
            machine,
            policy,
            services: ServiceRules::default(),
            commands: CommandRules::default(),
            limits,
            data: None,
        }
    }

    /// The same engine, with what the owner adds to the protected services.
    #[must_use]
    pub fn with_services(self, services: ServiceRules) -> Self {
        Self { services, ..self }
    }

    /// The same engine, without the commands that the owner takes out.
    #[must_use]
    pub fn with_commands(self, commands: CommandRules) -> Self {
        Self { commands, ..self }
    }

    /// The same engine, able to make bundles of diagnostic data.
    #[must_use]
    pub fn with_diagnostic_data(self, data: DiagnosticData) -> Self {
        Self { data: Some(data), ..self }
    }

    /// The same engine with PowerShell for what this program cannot answer itself.
    #[must_use]
    pub fn with_power_shell(self, power_shell: PowerShell) -> Self {
        Self { power_shell: Some(power_shell), ..self }
    }

    /// The same engine for an executor that answers as another machine would; default [`Machine::current`].
    #[must_use]
    pub fn on_machine(self, machine: Machine) -> Self {
        Self { machine, ..self }
    }

    /// The same engine, with a part that runs as root for what needs root.
    #[cfg(unix)]
    #[must_use]
    pub fn with_root_part(self, root_part: RootPart) -> Self {
        Self { root_part: Some(root_part), ..self }
    }

    /// Who answers on this machine.
    fn machine(&self) -> Machine {
        Machine { power_shell: self.power_shell.is_some() || self.machine.power_shell, ..self.machine }
    }

    /// What runs the plans of a session.
    fn executor_in(&self, session: Uuid) -> Arc<dyn Executor> {
        let own = Arc::clone(&self.executor);
        #[cfg(unix)]
        let own = match &self.root_part {
            None => own,
            Some(root_part) => Arc::new(root_part.in_session(session, own)),
        };
        match &self.power_shell {
            None => own,
            Some(power_shell) => Arc::new(power_shell.in_session(session, own, self.machine())),
        }
    }

    /// What a line is judged against; nothing is permitted where the consent names lists that are not known here.
    fn context(&self, rights: Rights<'_>) -> Result<Context, Refused> {
        let policy = Policy::from(rights.scope);
        let product = &rights.scope.product;
        let variant = product.as_str().parse().map_err(|error: UnknownVariant| Refused {
            code: Code::NotPermitted.as_str().to_owned(),
            column: None,
            message: format!("the consent in force names lists that this node does not have: {error}"),
        })?;
        let policy =
            Policy { strict_read_only: policy.strict_read_only || self.policy.strict_read_only, ..policy };
        let (services, commands) = (self.services.clone(), self.commands.clone());
        let (limits, machine) = (self.limits, self.machine());
        Ok(Context { variant, policy, services, commands, limits, machine, ..Context::new(rights.level) })
    }
}

#[async_trait]
impl Engine for OperationsEngine {
    type Work = Work;

    fn plan(
        &self,
        line: &str,
        rights: Rights<'_>,
        form: Form,
        columns: Option<u16>,
    ) -> Result<Planned<Work>, Refused> {
        let form = match (form, columns) {
            (Form::Objects, _) => OutputForm::Objects,
            (Form::Text, Some(width)) => OutputForm::Text { width },
            (Form::Text, None) => OutputForm::default(),
        };
        let refused = |refused: crate::operations::Refused| Refused {
            code: refused.code.as_str().to_owned(),
            column: Some(refused.column).filter(|column| *column > 0),
            message: refused.message,
        };
        if let Some(wish) = level_wish::read(line, rights.level) {
            let wish = wish.map_err(refused)?;
            let description = serde_json::to_value(&wish).unwrap_or_default();
            return Ok(Planned { leaves: false, work: Work::Level(wish), description });
        }
        let plan = Context { form, ..self.context(rights)? }.plan_line(line).map_err(refused)?;
        let description = serde_json::to_value(&plan).unwrap_or_default();
        Ok(Planned { leaves: plan.ends_session(), work: Work::Plan(Box::new(plan)), description })
    }

    fn offered(&self, rights: Rights<'_>) -> Vec<Offered> {
        let own = self.context(rights).map(|context| offered(&context)).unwrap_or_default();
        own.into_iter().chain(level_wish::offered()).collect()
    }

    fn catalog_sha256(&self) -> Digest {
        Catalog::sha256().parse().unwrap_or_else(|_| Digest::of(Catalog::sha256().as_bytes()))
    }

    async fn start(&self, work: Work, occasion: &Occasion) -> Result<Box<dyn RunningWork>, String> {
        if let Work::Plan(plan) = &work
            && plan.command() == COMMAND
        {
            let data = self.data.clone().ok_or("this node keeps no bundles of diagnostic data")?;
            let plan = Plan::clone(plan);
            return Ok(Box::new(
                Sending::start(&self.executor_in(occasion.session), plan, occasion.clone(), data).await?,
            ));
        }
        let ask = match &work {
            Work::Level(wish) => Some(ask_for_level(wish)),
            Work::Plan(plan) => ask_for_change(plan, occasion),
        };
        match (ask, work) {
            (None, Work::Plan(plan)) => {
                Ok(Box::new(RunningPlan::start(&self.executor_in(occasion.session), *plan).await?))
            }
            (ask, work) => Ok(Box::new(Asking {
                executor: self.executor_in(occasion.session),
                ask,
                work: Some(work),
                state: State::Waits,
            })),
        }
    }

    async fn forget(&self, session: Uuid) {
        if let Some(power_shell) = &self.power_shell {
            power_shell.end(session).await;
        }
    }
}

/// The question before a plan that changes state, if the owner wants to be asked.
fn ask_for_change(plan: &Plan, occasion: &Occasion) -> Option<Ask> {
    let effects = plan.effects();
    if !(occasion.approval.asks_before_changes() && effects.changes_state()) {
        return None;
    }
    Some(Ask {
        id: Uuid::new_v4(),
        subject: ApprovalSubject::Change,
        summary: format!("{} (effects: {effects})", plan.call.summary()),
        details: serde_json::json!({ "call": plan.call, "effects": effects }),
    })
}

fn ask_for_level(wish: &LevelWish) -> Ask {
    Ask {
        id: Uuid::new_v4(),
        subject: ApprovalSubject::Level,
        summary: format!("the engineer asks for the level {}: {}", wish.level, wish.reason),
        details: serde_json::to_value(wish).unwrap_or_default(),
    }
}

/// A plan that an executor runs.
struct RunningPlan {
    running: Running,
    objects: bool,
}

impl RunningPlan {
    async fn start(executor: &Arc<dyn Executor>, plan: Plan) -> Result<Self, String> {
        let objects = plan.form == OutputForm::Objects;
        match executor.start(plan).await {
            Ok(running) => Ok(Self { running, objects }),
            Err(error) => Err(error.to_string()),
        }
    }
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

    async fn answered(&mut self, _answer: Answer) {}

    async fn interrupt(&mut self) {
        self.running.interrupt();
    }

    async fn kill(&mut self) {
        self.running.kill().await;
    }
}

/// Work that asks the operator first; nothing of it runs before the Yes.
struct Asking {
    executor: Arc<dyn Executor>,
    /// The question, until it is put.
    ask: Option<Ask>,
    work: Option<Work>,
    state: State,
}

enum State {
    Waits,
    Runs(RunningPlan),
    /// It says this and ends so.
    Over(Option<OutputData>, Finish),
}

#[async_trait]
impl RunningWork for Asking {
    async fn next(&mut self) -> Progress {
        if let Some(ask) = self.ask.take() {
            return Progress::Ask(ask);
        }
        match &mut self.state {
            State::Waits => std::future::pending().await,
            State::Runs(plan) => plan.next().await,
            State::Over(text, finish) => match text.take() {
                Some(text) => Progress::Output(text),
                None => Progress::Finished(finish.clone()),
            },
        }
    }

    async fn answered(&mut self, answer: Answer) {
        let Some(work) = self.work.take() else { return };
        self.state = match work {
            _ if !answer.is_yes() => State::Over(None, Finish::new(Status::Declined, answer.refusal())),
            Work::Level(wish) => {
                let text = OutputData::Text(wish.granted());
                State::Over(Some(text), Finish::new(Status::Done, ""))
            }
            Work::Plan(plan) => match RunningPlan::start(&self.executor, *plan).await {
                Ok(running) => State::Runs(running),
                Err(message) => State::Over(None, Finish::new(Status::Failed, message)),
            },
        };
    }

    async fn interrupt(&mut self) {
        match &mut self.state {
            State::Runs(plan) => plan.interrupt().await,
            State::Waits => {
                self.work = None;
                let why = "interrupted before the operator answered; nothing was done";
                self.state = State::Over(None, Finish::new(Status::Interrupted, why));
            }
            State::Over(..) => {}
        }
    }

    async fn kill(&mut self) {
        self.work = None;
        if let State::Runs(plan) = &mut self.state {
            plan.kill().await;
        }
    }
}
