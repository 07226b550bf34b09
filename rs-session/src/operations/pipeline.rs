//! Objects through filters to text, one at a time.
//!
//! A source pushes values; each step passes on, holds back or ends the flow. Memory is bounded: only Sort-Object and
//! the `-Last` and `-Unique` forms hold values, at most [`HELD_OBJECTS_MAX`] of them and [`HELD_BYTES_MAX`] bytes, and
//! reaching that is an error with advice, never a silent cut.

use std::cmp::Ordering;
use std::collections::{HashSet, VecDeque};

use super::compare::{Test, text_number, wildcard};
use super::format::Formatter;
use super::objects::{CUSTOM, Object, Value, json_line, order_text_by_case};
use super::plan::{OutputForm, Plan, Stage};

/// Most objects that one step holds in memory.
pub const HELD_OBJECTS_MAX: usize = 50_000;
/// Most bytes that the objects of one step take, about: 128 MiB.
pub const HELD_BYTES_MAX: usize = 128 << 20;

/// Why a source should not go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Stop {
    /// Everything that was asked for has arrived; no error.
    #[error("enough objects have arrived")]
    Enough,
    /// The output limit is reached.
    #[error("the output limit is reached")]
    OutputLimit,
    /// Nobody reads any more.
    #[error("the reader is gone")]
    Closed,
    /// A step cannot go on.
    #[error("{0}")]
    Failed(String),
}

/// Where a source puts its values.
pub trait Sink {
    /// Gives one value.
    ///
    /// # Errors
    /// [`Stop`] if the source should end now; it returns it unchanged.
    fn emit(&mut self, value: Value) -> Result<(), Stop>;

    /// Reports something that went wrong without ending the operation, such as a name that was not found.
    ///
    /// # Errors
    /// As [`Sink::emit`].
    fn warn(&mut self, text: &str) -> Result<(), Stop>;

    /// Asks that everything given so far is shown now; for sources that take their time between values.
    ///
    /// # Errors
    /// As [`Sink::emit`].
    fn flush(&mut self) -> Result<(), Stop>;
}

/// Where text goes.
pub trait Output {
    /// Takes result text; it is harmless already.
    ///
    /// # Errors
    /// [`Stop::OutputLimit`] or [`Stop::Closed`].
    fn text(&mut self, text: &str) -> Result<(), Stop>;

    /// Takes one line of error text without its line break; it is harmless already.
    ///
    /// # Errors
    /// As [`Output::text`].
    fn error(&mut self, text: &str) -> Result<(), Stop>;

    /// Sends what was taken so far.
    ///
    /// # Errors
    /// As [`Output::text`].
    fn flush(&mut self) -> Result<(), Stop>;
}

/// Collects text in memory, for tests and small tools.
#[derive(Clone, Debug, Default)]
pub struct Collected {
    /// Result text.
    pub text: String,
    /// Error lines.
    pub errors: Vec<String>,
}

impl Output for Collected {
    fn text(&mut self, text: &str) -> Result<(), Stop> {
        self.text.push_str(text);
        Ok(())
    }

    fn error(&mut self, text: &str) -> Result<(), Stop> {
        self.errors.push(text.to_owned());
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Stop> {
        Ok(())
    }
}

/// A plan's stages, ready to take values.
#[derive(Debug)]
pub struct Chain<'a, O: Output> {
    steps: Vec<Step>,
    end: End,
    output: &'a mut O,
    on_error: OnError,
}

/// What `-ErrorAction` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnError {
    Show,
    Hide,
    End,
}

impl<'a, O: Output> Chain<'a, O> {
    /// The stages of a plan in front of an output.
    pub fn new(plan: &Plan, output: &'a mut O) -> Self {
        let steps = plan.stages.iter().filter_map(Step::new).collect();
        let end = match plan.form {
            OutputForm::Objects => End::Json,
            OutputForm::Text { width } => End::Text(Formatter::for_stages(&plan.stages, width)),
        };
        let on_error = match plan.call.text("ErrorAction") {
            Some("SilentlyContinue" | "Ignore") => OnError::Hide,
            Some("Stop") => OnError::End,
            _ => OnError::Show,
        };
        Self { steps, end, output, on_error }
    }

    /// Ends the flow: what is held back comes out.
    ///
    /// # Errors
    /// [`Stop`] other than [`Stop::Enough`].
    pub fn finish(mut self) -> Result<(), Stop> {
        for at in 0..self.steps.len() {
            let (done, rest) = self.steps.split_at_mut(at + 1);
            let mut next = Next { steps: rest, end: &mut self.end, output: self.output };
            let Some(step) = done.last_mut() else { continue };
            match step.finish(&mut next) {
                Ok(()) | Err(Stop::Enough) => {}
                Err(stop) => return Err(stop),
            }
        }
        if let End::Text(formatter) = &mut self.end {
            formatter.finish(self.output)?;
        }
        self.output.flush()
    }
}

impl<O: Output> Sink for Chain<'_, O> {
    fn emit(&mut self, value: Value) -> Result<(), Stop> {
        Next { steps: &mut self.steps, end: &mut self.end, output: self.output }.push(value)
    }

    fn warn(&mut self, text: &str) -> Result<(), Stop> {
        match self.on_error {
            OnError::Show => self.output.error(&super::objects::harmless(text)),
            OnError::Hide => Ok(()),
            OnError::End => Err(Stop::Failed(text.to_owned())),
        }
    }

    fn flush(&mut self) -> Result<(), Stop> {
        if let End::Text(formatter) = &mut self.end {
            formatter.flush(self.output)?;
        }
        self.output.flush()
    }
}

#[derive(Debug)]
enum End {
    Json,
    Text(Formatter),
}

/// The steps behind one step.
struct Next<'a> {
    steps: &'a mut [Step],
    end: &'a mut End,
    output: &'a mut dyn Output,
}

impl Next<'_> {
    fn push(&mut self, value: Value) -> Result<(), Stop> {
        match self.steps.split_first_mut() {
            Some((step, rest)) => {
                step.push(value, &mut Next { steps: rest, end: self.end, output: self.output })
            }
            None => match self.end {
                End::Text(formatter) => formatter.push(&value, self.output),
                End::Json => {
                    self.output.text(&json_line(&value))?;
                    self.output.text("\n")
                }
            },
        }
    }
}

/// One filter with its state.
#[derive(Debug)]
enum Step {
    /// Without a test nothing passes: [`Plan::check`] lets no such plan through.
    Where {
        property: String,
        test: Option<Test>,
    },
    Sort(Sort),
    Select(Select),
    Measure(Measure),
}

impl Step {
    /// The step of a stage; formatters are the chain's end instead.
    fn new(stage: &Stage) -> Option<Self> {
        match stage {
            Stage::Where { property, comparison, values } => Some(Self::Where {
                property: property.clone(),
                test: Test::new(*comparison, values.iter().map(Value::from).collect()).ok(),
            }),
            Stage::Sort { properties, descending, unique, case_sensitive, top, bottom } => {
                Some(Self::Sort(Sort {
                    properties: properties.clone(),
                    descending: *descending,
                    unique: *unique,
                    case_sensitive: *case_sensitive,
                    top: *top,
                    bottom: *bottom,
                    held: Vec::new(),
                    room: Room::default(),
                }))
            }
            Stage::Select { properties, exclude, expand, first, last, skip, unique } => {
                Some(Self::Select(Select {
                    properties: properties.clone(),
                    exclude: exclude.clone(),
                    expand: expand.clone(),
                    first: *first,
                    last: last.map(to_usize),
                    skip: to_usize(*skip),
                    unique: unique.then(HashSet::new),
                    skipped: 0,
                    given: 0,
                    tail: VecDeque::new(),
                    room: Room::default(),
                }))
            }
            Stage::Measure { properties, sum, average, maximum, minimum } => {
                Some(Self::Measure(Measure::new(properties, [*sum, *average, *maximum, *minimum])))
            }
            Stage::Table { .. } | Stage::List { .. } | Stage::Default => None,
        }
    }

    fn push(&mut self, value: Value, next: &mut Next<'_>) -> Result<(), Stop> {
        match self {
            Self::Where { property, test } => {
                if test.as_ref().is_some_and(|test| test.holds(property_of(&value, property))) {
                    next.push(value)
                } else {
                    Ok(())
                }
            }
            Self::Sort(sort) => sort.push(value),
            Self::Select(select) => select.push(value, next),
            Self::Measure(measure) => {
                measure.push(&value);
                Ok(())
            }
        }
    }

    fn finish(&mut self, next: &mut Next<'_>) -> Result<(), Stop> {
        match self {
            Self::Where { .. } => Ok(()),
            Self::Sort(sort) => sort.finish(next),
            Self::Select(select) => select.finish(next),
            Self::Measure(measure) => measure.finish(next),
        }
    }
}

fn to_usize(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// What one step holds, against its bounds.
#[derive(Clone, Copy, Debug, Default)]
struct Room {
    objects: usize,
    bytes: usize,
}

impl Room {
    /// Makes room for one more object of so many bytes.
    fn take(&mut self, bytes: usize, command: &str) -> Result<(), Stop> {
        let (objects, bytes) = (self.objects + 1, self.bytes.saturating_add(bytes));
        if objects > HELD_OBJECTS_MAX || bytes > HELD_BYTES_MAX {
            return Err(Stop::Failed(format!(
                "{command} holds at most {HELD_OBJECTS_MAX} objects and {} MiB; filter with Where-Object before it",
                HELD_BYTES_MAX >> 20
            )));
        }
        *self = Self { objects, bytes };
        Ok(())
    }

    fn give_back(&mut self, bytes: usize) {
        *self = Self { objects: self.objects.saturating_sub(1), bytes: self.bytes.saturating_sub(bytes) };
    }
}

/// A property of a value; nothing if it is not there.
fn property_of<'a>(value: &'a Value, name: &str) -> &'a Value {
    static NULL: Value = Value::Null;
    existing(value, name).unwrap_or(&NULL)
}

/// A property of a value, if it has that property.
fn existing<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    match value {
        Value::Object(object) => object.get(name),
        _ => None,
    }
}

#[derive(Debug)]
struct Sort {
    properties: Vec<String>,
    descending: bool,
    unique: bool,
    case_sensitive: bool,
    top: Option<u64>,
    bottom: Option<u64>,
    /// Each object behind its keys; a key is `None` where the object has no such property.
    held: Vec<(Vec<Option<Value>>, Value)>,
    room: Room,
}

impl Sort {
    fn push(&mut self, value: Value) -> Result<(), Stop> {
        let keys: Vec<_> = if self.properties.is_empty() {
            vec![Some(match &value {
                Value::Object(object) => {
                    object.get("Name").cloned().unwrap_or_else(|| value.to_text().into_owned().into())
                }
                other => other.clone(),
            })]
        } else {
            self.properties.iter().map(|name| existing(&value, name).cloned()).collect()
        };
        let bytes = value.bytes() + keys.iter().flatten().map(Value::bytes).sum::<usize>();
        self.room.take(bytes, "Sort-Object")?;
        self.held.push((keys, value));
        Ok(())
    }

    fn finish(&mut self, next: &mut Next<'_>) -> Result<(), Stop> {
        let mut held = std::mem::take(&mut self.held);
        let order = |a: &[Option<Value>], b: &[Option<Value>]| {
            let orders = a.iter().zip(b).map(|(a, b)| self.order(a.as_ref(), b.as_ref()));
            orders.into_iter().find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
        };
        held.sort_by(|(a, _), (b, _)| order(a, b));
        if self.unique {
            held.dedup_by(|(a, _), (b, _)| order(a, b).is_eq());
        }
        let skip = self.bottom.map_or(0, |bottom| held.len().saturating_sub(to_usize(bottom)));
        let take = self.top.map_or(usize::MAX, to_usize);
        held.into_iter().skip(skip).take(take).try_for_each(|(_, value)| next.push(value))
    }

    /// The order of two keys. What has no such property stands last, whichever way the rest is sorted.
    fn order(&self, a: Option<&Value>, b: Option<&Value>) -> Ordering {
        let order = match (a, b) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Greater,
            (Some(_), None) => return Ordering::Less,
            (Some(Value::Text(a)), Some(Value::Text(b))) if self.case_sensitive => order_text_by_case(a, b),
            (Some(a), Some(b)) => a.order(b),
        };
        if self.descending { order.reverse() } else { order }
    }
}

#[derive(Debug)]
struct Select {
    properties: Vec<String>,
    exclude: Vec<String>,
    expand: Option<String>,
    first: Option<u64>,
    last: Option<usize>,
    skip: usize,
    unique: Option<HashSet<String>>,
    skipped: usize,
    given: u64,
    tail: VecDeque<Value>,
    room: Room,
}

impl Select {
    fn push(&mut self, value: Value, next: &mut Next<'_>) -> Result<(), Stop> {
        if self.first.is_some_and(|first| self.given >= first && self.last.is_none()) {
            return Err(Stop::Enough);
        }
        if let Some(last) = self.last {
            return self.push_to_tail(value, last, next);
        }
        if self.skipped < self.skip {
            self.skipped += 1;
            return Ok(());
        }
        self.given += 1;
        self.give(&value, next)?;
        if self.first.is_some_and(|first| self.given >= first) { Err(Stop::Enough) } else { Ok(()) }
    }

    /// With `-Last`: the first ones go through if `-First` is there too, the newest wait.
    fn push_to_tail(&mut self, value: Value, last: usize, next: &mut Next<'_>) -> Result<(), Stop> {
        if self.first.is_some_and(|first| self.given < first) {
            self.given += 1;
            return self.give(&value, next);
        }
        if self.tail.len() == last.saturating_add(self.skip)
            && let Some(oldest) = self.tail.pop_front()
        {
            self.room.give_back(oldest.bytes());
        }
        if last > 0 {
            self.room.take(value.bytes(), "Select-Object -Last")?;
            self.tail.push_back(value);
        }
        Ok(())
    }

    fn finish(&mut self, next: &mut Next<'_>) -> Result<(), Stop> {
        let tail = std::mem::take(&mut self.tail);
        let keep = tail.len().saturating_sub(self.skip);
        tail.iter().take(keep).try_for_each(|value| self.give(value, next))
    }

    fn give(&mut self, value: &Value, next: &mut Next<'_>) -> Result<(), Stop> {
        for value in self.shape(value, next)? {
            if let Some(seen) = &mut self.unique {
                let text = json_line(&value);
                if seen.contains(&text) {
                    continue;
                }
                self.room.take(text.len(), "Select-Object -Unique")?;
                seen.insert(text);
            }
            next.push(value)?;
        }
        Ok(())
    }

    /// The value with the chosen properties, or the values of the expanded one.
    fn shape(&self, value: &Value, next: &mut Next<'_>) -> Result<Vec<Value>, Stop> {
        if let Some(expand) = &self.expand {
            return match value {
                Value::Object(object) => match object.get(expand) {
                    Some(Value::List(items)) => Ok(items.clone()),
                    Some(Value::Null) => Ok(Vec::new()),
                    Some(one) => Ok(vec![one.clone()]),
                    None => {
                        next.output
                            .error(&format!("Select-Object : Property \"{expand}\" cannot be found."))?;
                        Ok(Vec::new())
                    }
                },
                _ => Ok(Vec::new()),
            };
        }
        if self.properties.is_empty() && self.exclude.is_empty() {
            return Ok(vec![value.clone()]);
        }
        let Value::Object(object) = value else { return Ok(vec![value.clone()]) };
        Ok(vec![Value::from(self.chosen(object))])
    }

    fn chosen(&self, object: &Object) -> Object {
        let mut chosen = Object::new(CUSTOM);
        let all = [String::from("*")];
        let patterns = if self.properties.is_empty() { &all[..] } else { &self.properties };
        for pattern in patterns {
            if pattern.contains(['*', '?']) {
                for (name, value) in object.properties() {
                    if wildcard(pattern, name, false) && chosen.get(name).is_none() && !self.excludes(name) {
                        chosen.set(name.clone(), value.clone());
                    }
                }
            } else if chosen.get(pattern).is_none() && !self.excludes(pattern) {
                match object.entry(pattern) {
                    Some((name, value)) => chosen.set(name.clone(), value.clone()),
                    None => chosen.set(pattern.clone(), Value::Null),
                }
            }
        }
        chosen
    }

    fn excludes(&self, name: &str) -> bool {
        self.exclude.iter().any(|pattern| wildcard(pattern, name, false))
    }
}

/// What Measure-Object knows about one property.
#[derive(Debug, Default)]
struct Measured {
    property: Option<String>,
    count: u64,
    numbers: u64,
    sum: f64,
    maximum: Option<Value>,
    minimum: Option<Value>,
}

#[derive(Debug)]
struct Measure {
    measured: Vec<Measured>,
    sum: bool,
    average: bool,
    maximum: bool,
    minimum: bool,
    not_numeric: Option<String>,
}

impl Measure {
    fn new(properties: &[String], [sum, average, maximum, minimum]: [bool; 4]) -> Self {
        let mut measured: Vec<_> = properties
            .iter()
            .map(|name| Measured { property: Some(name.clone()), ..Measured::default() })
            .collect();
        if measured.is_empty() {
            measured.push(Measured::default());
        }
        Self { measured, sum, average, maximum, minimum, not_numeric: None }
    }

    fn push(&mut self, value: &Value) {
        for measured in &mut self.measured {
            let value = match &measured.property {
                Some(name) => property_of(value, name),
                None => value,
            };
            if measured.property.is_some() && matches!(value, Value::Null) {
                continue;
            }
            measured.count += 1;
            let number = match value {
                Value::Text(text) => text_number(text),
                other => other.as_number(),
            };
            match number {
                Some(number) => {
                    measured.numbers += 1;
                    measured.sum += number;
                }
                None if (self.sum || self.average) && measured.property.is_some() => {
                    self.not_numeric.get_or_insert_with(|| value.to_text().into_owned());
                }
                None => {}
            }
            if matches!(value, Value::Object(_)) {
                continue;
            }
            if measured.maximum.as_ref().is_none_or(|own| value.order(own).is_gt()) {
                measured.maximum = Some(value.clone());
            }
            if measured.minimum.as_ref().is_none_or(|own| value.order(own).is_lt()) {
                measured.minimum = Some(value.clone());
            }
        }
    }

    fn finish(&mut self, next: &mut Next<'_>) -> Result<(), Stop> {
        if let Some(text) = self.not_numeric.take() {
            let text = super::objects::harmless(&text).into_owned();
            next.output.error(&format!("Measure-Object : Input object \"{text}\" is not numeric."))?;
        }
        for measured in std::mem::take(&mut self.measured) {
            if measured.count == 0 && measured.property.is_some() {
                let name = measured.property.unwrap_or_default();
                next.output.error(&format!(
                    "Measure-Object : The property \"{name}\" cannot be found in the input."
                ))?;
                continue;
            }
            next.push(self.result(measured).into())?;
        }
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "a count of objects beyond 2^53 does not occur")]
    fn result(&self, measured: Measured) -> Object {
        let when = |asked: bool, value: Value| if asked && measured.count > 0 { value } else { Value::Null };
        let average = if measured.numbers > 0 { measured.sum / measured.numbers as f64 } else { 0.0 };
        Object::new("MeasureInfo")
            .with("Count", i64::try_from(measured.count).unwrap_or(i64::MAX))
            .with("Average", when(self.average, average.into()))
            .with("Sum", when(self.sum, measured.sum.into()))
            .with("Maximum", when(self.maximum, measured.maximum.into()))
            .with("Minimum", when(self.minimum, measured.minimum.into()))
            .with("Property", measured.property)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec46_a_step_holds_so_much_and_not_one_more() {
        let mut objects = Room::default();
        assert!((0..HELD_OBJECTS_MAX).all(|_| objects.take(1, "Sort-Object").is_ok()));
        assert!(objects.take(1, "Sort-Object").is_err());
        let mut bytes = Room::default();
        bytes.take(HELD_BYTES_MAX - 1, "Sort-Object").unwrap();
        assert!(bytes.take(2, "Sort-Object").is_err());
        bytes.take(1, "Sort-Object").unwrap();
        // What was let go makes room, once.
        bytes.give_back(1);
        bytes.take(1, "Sort-Object").unwrap();
        assert!(bytes.take(usize::MAX, "Sort-Object").is_err());
    }
}
