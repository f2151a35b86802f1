//! A person in front of the page: what they see, click and type, and what the browser complains of.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chromiumoxide::cdp::browser_protocol::emulation::{
    MediaFeature, SetDeviceMetricsOverrideParams,
};
use chromiumoxide::cdp::browser_protocol::input::InsertTextParams;
use chromiumoxide::cdp::browser_protocol::log::{EventEntryAdded, LogEntryLevel, LogEntrySource};
use chromiumoxide::cdp::js_protocol::runtime::{
    ConsoleApiCalledType, EvaluateParams, EventConsoleApiCalled, EventExceptionThrown,
};
use chromiumoxide::layout::Point;
use chromiumoxide::page::ScreenshotParams;
use chromiumoxide::{Browser, Page};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;

use crate::chromium::Chromium;
use crate::support::example::Example;

/// What the tests' expressions are made of.
const WORDS: &str = "
    const pane = (key) => document.querySelector(`[data-pane='${key}']`);
    const tasks = (key) => [...pane(key).querySelectorAll('.list .task')].map((task) => task.textContent);
    const item = (key, task) => [...pane(key).querySelectorAll('.list > li')]
        .find((li) => li.querySelector('.task').textContent === task);
    const refusal = (key, where) => pane(key).querySelector(`${where} .refusal`).textContent;
    const statements = (key) => pane(key).querySelector('.transactions').textContent;
    const claim = (key, name) => pane(key).querySelector(`[data-claim=${name}] .value`).textContent;
";

/// The example, a browser, and its page.
pub(crate) struct Visitor {
    page: Page,
    troubles: Arc<Mutex<Vec<String>>>,
    _browser: Browser,
    _chromium: Chromium,
    pub(crate) example: Example,
}

impl Visitor {
    /// Starts the example with these arguments, and opens its page.
    pub(crate) async fn open(arguments: &[&str]) -> Self {
        Self::open_with(
            Example::command("todos")
                .args(["--port", "0"])
                .args(arguments),
        )
        .await
    }

    pub(crate) async fn open_with(command: &mut std::process::Command) -> Self {
        let example = Example::start(command);
        let chromium = Chromium::start();
        let (browser, mut handler) = Browser::connect(chromium.socket())
            .await
            .expect("it takes commands");
        tokio::spawn(async move { while handler.next().await.is_some() {} });
        let page = browser.new_page("about:blank").await.expect("a page opens");
        let troubles = Arc::default();
        watch(&page, &troubles).await;
        page.evaluate_on_new_document(WORDS)
            .await
            .expect("it is told");
        let this = Self {
            page,
            troubles,
            _browser: browser,
            _chromium: chromium,
            example,
        };
        this.size(1400, 900).await;
        this.reload().await;
        this
    }

    /// Opens the page anew, as the same tab.
    pub(crate) async fn reload(&self) {
        let url = format!("{}/", self.example.url());
        let answered = within(self.page.goto(url)).await;
        answered.expect("the page answers");
        self.sees("document.querySelectorAll('.pane').length >= 2")
            .await;
    }

    /// Evaluates JavaScript, and awaits what it promises.
    pub(crate) async fn ask<T: DeserializeOwned>(&self, script: &str) -> T {
        let evaluate = EvaluateParams::builder()
            .expression(script)
            .await_promise(true)
            .return_by_value(true)
            .build()
            .expect("it is whole");
        let answer = within(self.page.evaluate_expression(evaluate)).await;
        let answer = answer.unwrap_or_else(|error| panic!("{script}: {error}"));
        answer.into_value().expect("it is of this type")
    }

    /// Waits until an expression is true, looking again whenever the document changes.
    #[track_caller]
    pub(crate) fn sees(&self, expression: &str) -> impl Future<Output = ()> {
        let script = format!(
            "new Promise((resolve) => {{
                const is = () => {{ try {{ return Boolean({expression}); }} catch {{ return false; }} }};
                const look = () => is() && end('');
                const watch = new MutationObserver(look);
                const limit = setTimeout(() => end(document.body.innerText), 20000);
                const end = (text) => {{ watch.disconnect(); clearTimeout(limit); resolve(text); }};
                watch.observe(document, {{ subtree: true, childList: true, attributes: true, characterData: true }});
                look();
            }})"
        );
        let (expression, at) = (expression.to_owned(), std::panic::Location::caller());
        async move {
            let text: String = self.ask(&script).await;
            assert!(
                text.is_empty(),
                "{at}: not seen in 20 s: {expression}\n{text}"
            );
        }
    }

    /// Clicks with the mouse.
    pub(crate) async fn click(&self, selector: &str) {
        let place = format!(
            "(() => {{
                const element = document.querySelector({selector:?});
                element.scrollIntoView({{ block: 'center', behavior: 'instant' }});
                const {{ x, y, width, height }} = element.getBoundingClientRect();
                const place = [x + width / 2, y + height / 2];
                const there = document.elementFromPoint(...place);
                return [...place, Boolean(element.contains(there) || element.labels?.[0]?.contains(there))];
            }})()"
        );
        let (x, y, hit): (f64, f64, bool) = self.ask(&place).await;
        assert!(hit, "{selector} lies behind something else");
        let clicked = within(self.page.click(Point::new(x, y))).await;
        clicked.unwrap_or_else(|error| panic!("{selector}: {error}"));
    }

    /// Replaces what stands in a field.
    pub(crate) async fn enter(&self, selector: &str, text: &str) {
        self.click(selector).await;
        self.type_text(text).await;
    }

    /// Replaces what stands in the field that has the focus, at once.
    pub(crate) async fn type_text(&self, text: &str) {
        let _: bool = self.ask("document.activeElement.select?.(), true").await;
        let typed = within(self.page.execute(InsertTextParams::new(text))).await;
        typed.expect("it can be typed");
    }

    /// Presses keys one after the other, wherever the focus is: names such as `Tab`, or characters.
    pub(crate) async fn press(&self, keys: &[&str]) {
        let body = within(self.page.find_element("body")).await;
        let body = body.expect("it is there");
        for key in keys {
            let pressed = within(body.press_key(key)).await;
            pressed.expect("there is such a key");
        }
    }

    /// Types characters wherever the focus is.
    pub(crate) async fn type_keys(&self, text: &str) {
        for key in text.chars() {
            self.press(&[key.encode_utf8(&mut [0; 4])]).await;
        }
    }

    pub(crate) async fn size(&self, width: i64, height: i64) {
        let size = SetDeviceMetricsOverrideParams::new(width, height, 1.0, false);
        let set = within(self.page.execute(size)).await;
        set.expect("it has a size");
    }

    pub(crate) async fn colors(&self, scheme: &str) {
        let scheme = MediaFeature::new("prefers-color-scheme", scheme);
        let set = within(self.page.emulate_media_features(vec![scheme])).await;
        set.expect("it has colors");
    }

    /// Keeps a picture of the whole page in `target/screenshots`, in both widths and both colors.
    pub(crate) async fn pictures(&self, name: &str) {
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("screenshots");
        std::fs::create_dir_all(&directory).expect("it can be made");
        for width in [400, 1400] {
            self.size(width, 900).await;
            let (wide, high): (i64, i64) = self
                .ask(
                    "[document.documentElement.scrollWidth, document.documentElement.scrollHeight]",
                )
                .await;
            assert!(wide <= width, "{name} is {wide} px wide in {width} px");
            self.size(width, high.min(4000)).await;
            for colors in ["light", "dark"] {
                self.colors(colors).await;
                let picture = within(self.page.screenshot(ScreenshotParams::default())).await;
                let file = directory.join(format!("{name}-{width}-{colors}.png"));
                std::fs::write(file, picture.expect("it is taken")).expect("it can be kept");
            }
        }
        self.size(1400, 900).await;
        self.colors("light").await;
    }

    /// Asserts that the browser had nothing to complain of, such as what the page's policy forbids.
    #[track_caller]
    pub(crate) fn assert_no_trouble(&self) {
        let troubles = self.troubles.lock().expect("nobody panicked");
        assert_eq!(*troubles, Vec::<String>::new());
    }
}

/// An answer of the browser, which must come.
async fn within<T>(answer: impl Future<Output = T>) -> T {
    let answer = tokio::time::timeout(Duration::from_secs(30), answer).await;
    answer.expect("the browser answers in 30 s")
}

async fn watch(page: &Page, troubles: &Arc<Mutex<Vec<String>>>) {
    let entries = page.event_listener::<EventEntryAdded>().await;
    let calls = page.event_listener::<EventConsoleApiCalled>().await;
    let thrown = page.event_listener::<EventExceptionThrown>().await;
    page.enable_log().await.expect("it is told");
    page.enable_runtime().await.expect("it is told");
    // That an answer was 401 or 403 is among the entries, and no trouble.
    let entries = entries.expect("it is told").filter_map(async |event| {
        let entry = &event.entry;
        let trouble = matches!(entry.level, LogEntryLevel::Error | LogEntryLevel::Warning)
            && entry.source != LogEntrySource::Network;
        trouble.then(|| format!("{}: {}", entry.source.as_ref(), entry.text))
    });
    let calls = calls.expect("it is told").filter_map(async |event| {
        let trouble = matches!(
            event.r#type,
            ConsoleApiCalledType::Error | ConsoleApiCalledType::Warning
        );
        trouble.then(|| format!("console: {:?}", event.args))
    });
    let thrown = thrown
        .expect("it is told")
        .map(|event| format!("thrown: {:?}", event.exception_details));
    let all = futures_util::stream::select(
        Box::pin(entries),
        futures_util::stream::select(Box::pin(calls), Box::pin(thrown)),
    );
    let troubles = Arc::clone(troubles);
    tokio::spawn(all.for_each(move |trouble| {
        troubles.lock().expect("nobody panicked").push(trouble);
        async {}
    }));
}
