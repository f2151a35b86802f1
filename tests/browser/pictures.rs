//! The page in each of its states: whether it fits is checked, whether it is pleasant somebody has to look.

use crate::users::alice_and_bob;
use crate::visitor::Visitor;

#[tokio::test]
async fn the_page_fits_into_narrow_and_wide_windows() {
    let visitor = Visitor::open(&[]).await;
    visitor.sees("tasks(1).length === 1").await;
    visitor.pictures("1-strangers").await;

    let visitor = alice_and_bob(&[]).await;
    visitor.add(1, "buy a present for bob", false).await;
    visitor.add(1, "a line that is rather long, to see how it is broken where a window is narrow, and a-word-that-is-very-long-indeed-and-cannot-be-broken-at-a-space", true).await;
    visitor.add(2, "water the plants", false).await;
    visitor.sees("statements(1).includes('COMMIT')").await;
    visitor.pictures("2-two-users").await;
    visitor.click("[data-pane='2'] .add [value=other]").await;
    visitor.sees("refusal(2, '.add').includes('42501')").await;
    visitor.sees("statements(2).includes('ERROR 42501')").await;
    visitor.pictures("3-refused").await;
    visitor.click_in(1, "buy a present for bob", "edit").await;
    visitor.click("#add-pane").await;
    visitor.sees("pane(3) && tasks(3).length === 2").await;
    visitor.pictures("4-three-panes-editing").await;
    visitor.click("#open-mailbox").await;
    visitor
        .sees("document.querySelectorAll('#mails .done').length === 2")
        .await;
    visitor.pictures("5-mailbox").await;
    visitor.press(&["Escape"]).await;
    visitor.click("[data-pane='3'] button[value=alice]").await;
    visitor.sees("pane(3).dataset.user === 'Alice'").await;
    visitor
        .click("[data-pane='3'] .leave [value=everywhere]")
        .await;
    visitor
        .sees("pane(1).querySelector('.ended').textContent")
        .await;
    visitor.pictures("6-signed-out").await;
    visitor.assert_no_trouble();
}
