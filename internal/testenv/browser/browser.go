// Package browser opens pages in a real browser, for tests.
package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/ecom-micro/etl/internal/testenv"
)

// Page is a tab of a browser. Its methods fail the test.
type Page struct {
	tb  testing.TB
	ctx context.Context
	// problems are what the page logged as an error: code that failed, what its policy forbade.
	problems chan string
}

// patience is how long a page may take to show something.
const patience = time.Minute

// Open starts a browser: the one that STACK_BROWSER names, or Chromium where it is installed.
// Without one the test is skipped, unless STACK_BROWSER is set.
func Open(tb testing.TB) *Page {
	tb.Helper()
	path := os.Getenv("STACK_BROWSER")
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); path == "" && err == nil {
			path = found
		}
	}
	if path == "" {
		tb.Skip("no browser to test with: `make test` installs one")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.UserDataDir(tb.TempDir()), chromedp.WSURLReadTimeout(patience), chromedp.Flag("disable-dev-shm-usage", true))
	allocated, end := chromedp.NewExecAllocator(context.WithoutCancel(tb.Context()), options...)
	ctx, closeTab := chromedp.NewContext(allocated)
	tb.Cleanup(func() {
		_ = chromedp.Cancel(ctx) // waits until the browser has ended
		closeTab()
		end()
	})
	p := &Page{tb: tb, ctx: ctx, problems: make(chan string, 100)}
	chromedp.ListenTarget(ctx, func(event any) {
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			p.notice(e.ExceptionDetails.Error())
		case *page.EventJavascriptDialogOpening:
			go func() { _ = chromedp.Run(ctx, page.HandleJavaScriptDialog(true)) }() // a person says yes
		}
	})
	// What runs first starts the browser, which lives as long as the context of that.
	if err := chromedp.Run(ctx, chromedp.Navigate("about:blank")); err != nil {
		tb.Fatalf("start %s: %v", path, err)
	}
	return p
}

func (p *Page) notice(problem string) {
	select {
	case p.problems <- problem:
	default: // there are plenty
	}
}

// run does something in the page.
func (p *Page) run(actions ...chromedp.Action) {
	p.tb.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	if err := chromedp.Run(ctx, actions...); err != nil {
		p.tb.Fatalf("the browser: %v, at %s; the page shows:\n%s", err, p.Address(), p.text())
	}
}

// Visit opens an address.
func (p *Page) Visit(url string) {
	p.tb.Helper()
	p.run(chromedp.Navigate(url), chromedp.WaitReady("body"))
}

// Address is that of the page.
func (p *Page) Address() (address string) {
	_ = chromedp.Run(p.ctx, chromedp.Location(&address)) // empty where the browser is gone
	return address
}

// text is all that the page shows.
func (p *Page) text() (text string) {
	_ = chromedp.Run(p.ctx, chromedp.Evaluate("document.body ? document.body.innerText : ''", &text)) // it may be going to another one
	return text
}

// Sees waits until the page shows a text.
func (p *Page) Sees(text string) {
	p.tb.Helper()
	testenv.Eventually(p.tb, patience, func() error {
		if shown := p.text(); !strings.Contains(shown, text) {
			return fmt.Errorf("%s shows:\n%s", p.Address(), shown)
		}
		return nil
	}, fmt.Sprintf("the page to show %q", text))
}

// Shows tells whether the page shows a text now.
func (p *Page) Shows(text string) bool { return strings.Contains(p.text(), text) }

// Has tells whether the page has an element.
func (p *Page) Has(selector string) (is bool) {
	p.tb.Helper()
	p.run(chromedp.Evaluate(fmt.Sprintf("document.querySelector(%q) !== null", selector), &is))
	return is
}

// Fill types into a field.
func (p *Page) Fill(selector, value string) {
	p.tb.Helper()
	p.run(chromedp.SendKeys(selector, value, chromedp.ByQuery, chromedp.NodeVisible))
}

// Choose clicks on an element that a selector names.
func (p *Page) Choose(selector string) {
	p.tb.Helper()
	p.run(chromedp.Click(selector, chromedp.ByQuery, chromedp.NodeVisible))
}

// Click clicks on the link or the button of a text, in the page as it is then: it may be
// refreshed at any moment.
func (p *Page) Click(text string) {
	p.tb.Helper()
	const script = `(() => {
		const found = [...document.querySelectorAll("a, button")].find((e) => e.innerText.trim() === %q);
		if (found) { setTimeout(() => found.click(), 0); }
		return found !== undefined;
	})()`
	testenv.Eventually(p.tb, patience, func() error {
		var clicked bool
		if err := chromedp.Run(p.ctx, chromedp.Evaluate(fmt.Sprintf(script, text), &clicked)); err != nil {
			return err
		}
		if !clicked {
			return fmt.Errorf("%s shows:\n%s", p.Address(), p.text())
		}
		return nil
	}, fmt.Sprintf("a link or button %q", text))
}

// Submit clicks on the button of a text and waits until the page that it leads to is there.
func (p *Page) Submit(text string) {
	p.tb.Helper()
	p.run(chromedp.Evaluate("window.before = true", nil))
	p.Click(text)
	testenv.Eventually(p.tb, patience, func() error {
		var there bool
		if err := chromedp.Run(p.ctx, chromedp.Evaluate(`window.before === undefined && document.readyState === "complete"`, &there)); err != nil {
			return err
		}
		if !there {
			return fmt.Errorf("%s is still there", p.Address())
		}
		return nil
	}, fmt.Sprintf("the page behind %q", text))
}

// Look sets how large the page is and whether it is dark.
func (p *Page) Look(width, height int64, dark bool) {
	p.tb.Helper()
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	p.run(emulation.SetDeviceMetricsOverride(width, height, 1, width < 600),
		emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}}))
}

// Picture keeps what the whole page looks like as a PNG in the folder, where one is named.
func (p *Page) Picture(folder, name string) {
	p.tb.Helper()
	if folder == "" {
		return
	}
	var picture []byte
	p.run(chromedp.FullScreenshot(&picture, 100))
	if err := os.WriteFile(filepath.Join(folder, name+".png"), picture, 0o644); err != nil {
		p.tb.Fatal(err)
	}
}

// Accessible insists that axe-core finds nothing in the page, and that nothing is wider than it.
// STACK_AXE is where the engine is.
func (p *Page) Accessible() {
	p.tb.Helper()
	var wide int
	p.run(chromedp.Evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth", &wide))
	if wide > 0 {
		p.tb.Errorf("%s is %d pixels wider than the window", p.Address(), wide)
	}
	path := os.Getenv("STACK_AXE")
	if path == "" {
		p.tb.Log("STACK_AXE is not set: the page is not checked by axe-core")
		return
	}
	engine, err := os.ReadFile(path)
	if err != nil {
		p.tb.Fatal(err)
	}
	const check = `axe.run(document, {resultTypes: ["violations"]}).then((r) => JSON.stringify(r.violations.map((v) => ({
		rule: v.id, help: v.help, where: v.nodes.slice(0, 5).map((n) => n.html + " — " + n.failureSummary)}))))`
	var found string
	p.run(chromedp.Evaluate(string(engine), nil), chromedp.Evaluate(check, &found, func(e *runtime.EvaluateParams) *runtime.EvaluateParams { return e.WithAwaitPromise(true) }))
	var violations []struct {
		Rule, Help string
		Where      []string
	}
	if err := json.Unmarshal([]byte(found), &violations); err != nil {
		p.tb.Fatalf("axe-core says %q: %v", found, err)
	}
	for _, v := range violations {
		p.tb.Errorf("%s: %s (%s):\n%s", p.Address(), v.Help, v.Rule, strings.Join(v.Where, "\n"))
	}
}

// Quiet insists that no code of the pages has failed.
func (p *Page) Quiet() {
	p.tb.Helper()
	for {
		select {
		case problem := <-p.problems:
			p.tb.Errorf("a page failed: %s", problem)
		default:
			return
		}
	}
}
