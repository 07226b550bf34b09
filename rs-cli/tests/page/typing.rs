//! What is shown live is exchanged under the hands of the operator, and takes nothing out of them.

use crate::browser::Browser;
use crate::daemon::until_true;
use crate::operator::Served;
use crate::site::Site;

const ASK: [&str; 1] = ["Request-AccessLevel DiagnosticsRepair -Reason 'the first'"];

#[test]
fn u_text_that_is_being_typed_stays_while_calls_come_and_go() {
    let site = Site::ready();
    let page = Served::start(&site.machine);
    let Some(browser) = Browser::start() else { return };
    page.sign_in(&browser);
    browser.press("Approvals");
    let mut first = site.engineer(ASK);
    browser.reads("1 call waits for your answer");
    browser.reads("Live: this page shows changes by itself");
    browser.fill("input[name=reason]", "not before Mon");
    browser.press("In full, as it is on record");
    browser.one("input[name=reason]");
    browser.run("document.querySelector('input[name=reason]').focus()");
    // Another call comes.
    let second = site.engineer(["Request-AccessLevel DiagnosticsRepair -Reason 'the second'"]);
    browser.reads("2 calls wait for your answer");
    browser.key('d');
    browser.key('a');
    browser.key('y');
    let state = "const card = [...document.querySelectorAll('section.card')].find(one => one.innerText.includes('the first')); \
                 const field = card.querySelector('input[name=reason]'); \
                 return [field.value, document.activeElement === field, card.querySelector('details').open]";
    assert_eq!(browser.run(state), serde_json::json!(["not before Monday", true, true]));
    // The other goes.
    let waiting = site.machine.json("session approvals");
    let id = waiting
        .as_array()
        .expect("a list")
        .iter()
        .find(|one| one["summary"].as_str().is_some_and(|text| text.contains("the second")))
        .expect("it waits")["approvalId"]
        .as_str()
        .expect("an id")
        .to_owned();
    let declined = site.machine.run(&format!("session decline {id}"));
    assert_eq!(declined.code, 0, "{}", declined.stderr);
    browser.reads("1 call waits for your answer");
    assert_eq!(browser.run(state), serde_json::json!(["not before Monday", true, true]));
    // What the node says in the hidden field is still the node's: the form is taken.
    browser.press("Decline");
    browser.reads("Declined. The call does not go on");
    until_true("the engineer is told", || {
        format!("{}{}", first.stdout(), first.stderr()).contains("not before Monday")
    });
    let (_, _second) = (first.exit_code(), second);
    assert_eq!(browser.complaints(), "[]");
}

/// The control: exchanged as a whole, as it was once, the text is gone.
#[test]
fn u_control_a_part_that_is_exchanged_as_a_whole_loses_what_was_typed() {
    let site = Site::ready();
    let page = Served::start(&site.machine);
    let Some(browser) = Browser::start() else { return };
    page.sign_in(&browser);
    browser.press("Approvals");
    let _first = site.engineer(ASK);
    browser.reads("1 call waits for your answer");
    browser.fill("input[name=reason]", "typed");
    let value = browser.run(
        "const part = document.getElementById('waiting'); part.innerHTML = part.innerHTML; \
         return document.querySelector('input[name=reason]').value",
    );
    assert_eq!(value, "");
}

#[test]
fn c18_the_time_that_is_left_is_counted_down_each_second() {
    let site = Site::ready();
    let page = Served::start(&site.machine);
    let Some(browser) = Browser::start() else { return };
    page.sign_in(&browser);
    let shown =
        || browser.run("return [...document.querySelectorAll('[data-ends]')].map(one => one.textContent)");
    let seconds = |text: &serde_json::Value| -> Vec<i64> {
        let texts = text.as_array().expect("texts").iter().map(|one| one.as_str().expect("text").to_owned());
        texts
            .map(|text| {
                let words: Vec<&str> = text.split_whitespace().collect();
                words
                    .chunks(2)
                    .map(|pair| {
                        let unit = match pair[1] {
                            "d" => 86_400,
                            "h" => 3_600,
                            "min" => 60,
                            _ => 1,
                        };
                        pair[0].parse::<i64>().expect("a number") * unit
                    })
                    .sum()
            })
            .collect()
    };
    // Two places: the facts, and the row of the node. 480 minutes, less what the test took.
    let first = seconds(&shown());
    assert_eq!(first.len(), 2, "{first:?}");
    assert!(first.iter().all(|left| (28_000..=28_800).contains(left)), "{first:?}");
    until_true("it is less", || seconds(&shown()).iter().zip(&first).all(|(now, then)| now <= &(then - 2)));
    // As the node has it.
    let told = site.machine.json("access")[0]["remainingSeconds"].as_i64().expect("a number");
    let left = seconds(&shown())[0];
    assert!((told - left).abs() <= 5, "the node says {told}, the page {left}");
}
