//! What operations answer: fixed objects, or whatever a test makes up.

use std::sync::Arc;

use rs_consent::{Clock, ManualClock};
use rs_session::operations::catalog::Catalog;
use rs_session::operations::pipeline::Sink;
use rs_session::operations::providers::{ProviderError, Registry, answer};
use rs_session::operations::{Object, Plan, Value};

/// The answers of a simulated node, by published command.
///
/// `Get-Date` shows the virtual clock; `Get-Process` three processes, `Get-Volume` one volume. Any other listed command that a
/// Linux node could answer is permitted as there, and fails until a test says what it answers.
#[derive(Debug, Clone)]
pub struct Answers(Registry);

impl Answers {
    pub(crate) fn new(clock: ManualClock) -> Self {
        let date = move |_: &Plan, sink: &mut dyn Sink| Ok(sink.emit(Value::Date(clock.now().wall))?);
        Self(Registry::default()).with("Get-Date", date).fixed("Get-Process", processes()).fixed(
            "Get-Volume",
            vec![
                Object::new("Volume")
                    .with("MountPoint", "/")
                    .with("FriendlyName", "system")
                    .with("FileSystemType", "ext4")
                    .with("HealthStatus", "Healthy")
                    .with("SizeRemaining", Value::Size(40 << 30))
                    .with("Size", Value::Size(64 << 30)),
            ],
        )
    }

    pub(crate) fn with(
        self,
        name: &'static str,
        provider: impl Fn(&Plan, &mut dyn Sink) -> Result<(), ProviderError> + Send + Sync + 'static,
    ) -> Self {
        Self(self.0.with(name, provider))
    }

    /// Parameters choose by the properties of their name.
    pub(crate) fn fixed(self, name: &'static str, objects: Vec<Object>) -> Self {
        let objects = Arc::new(objects);
        let parameters: Vec<&'static str> = Catalog::azure_local()
            .resolve(name)
            .map(|entry| entry.parameters().map(|parameter| parameter.name).collect())
            .unwrap_or_default();
        self.with(name, move |plan, sink| {
            let properties = |parameter: &&str| objects.iter().any(|object| object.get(parameter).is_some());
            let filters: Vec<_> =
                parameters.iter().copied().filter(properties).map(|name| (name, name)).collect();
            answer(plan, sink, objects.iter().cloned(), &filters)
        })
    }

    pub(crate) fn registry(self) -> Registry {
        self.0
    }
}

fn processes() -> Vec<Object> {
    let one = |name: &'static str, id: i64, cpu: f64, bytes: u64| {
        Object::new("Process")
            .with("Name", name)
            .with("Id", id)
            .with("ProcessName", name)
            .with("CPU", cpu)
            .with("WorkingSet", Value::Size(bytes))
            .with("WS", Value::Size(bytes))
    };
    vec![
        one("agent", 702, 1.5, 24 << 20),
        one("storage", 811, 93.25, 512 << 20),
        one("updates", 977, 0.5, 8 << 20),
    ]
}
