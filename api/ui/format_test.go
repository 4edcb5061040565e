package ui

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

func TestLasted(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "0 ms", 800 * time.Millisecond: "800 ms", 59 * time.Second: "59 s", time.Minute: "1 min", 90 * time.Second: "1 min 30 s",
		15*time.Minute + 3*time.Second: "15 min", time.Hour: "1 h", 90 * time.Minute: "1 h 30 min", 26 * time.Hour: "1 d 2 h", 24 * time.Hour * 12: "12 d",
	} {
		if got := lasted(d); got != want {
			t.Errorf("%s lasted %q, want %q", d, got, want)
		}
	}
}

func TestSentence(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{"": "", "a": "A", "A lamp": "A lamp", "épée": "Épée", "30 verified": "30 verified"} {
		if got := sentence(s); got != want {
			t.Errorf("%q becomes %q, want %q", s, got, want)
		}
	}
}

// A cell never is a formula to a spreadsheet.
func TestCell(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{"": "", "a lamp": "a lamp", "=1+1": "'=1+1", "@sum": "'@sum", "-2": "'-2", "+3": "'+3", "\tx": "'\tx", "a=b": "a=b"} {
		if got := cell(value); got != want {
			t.Errorf("%q becomes %q, want %q", value, got, want)
		}
	}
}

// Whoever signs in stays here, whatever the address says.
func TestInside(t *testing.T) {
	t.Parallel()
	for next, want := range map[string]string{
		"": Path, "https://evil.example/api/etl/ui/": Path, "//evil.example/api/etl/ui/": Path, "/elsewhere": Path, Path + "../sync": Path,
		`/\evil.example`: Path, Path + "runs?status=failed": Path + "runs?status=failed", "javascript:alert(1)": Path, "%zz": Path,
	} {
		if got := inside(next); got != want {
			t.Errorf("%q leads to %q, want %q", next, got, want)
		}
	}
}

func TestTokenCookie(t *testing.T) {
	t.Parallel()
	for proto, secure := range map[string]bool{"": false, "http": false, "https": true} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, Path, nil)
		r.Header.Set("X-Forwarded-Proto", proto)
		if c := tokenCookie(r, "t", 0); c.Secure != secure || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode {
			t.Errorf("%q: %+v", proto, c)
		}
	}
}

// Every word that stands for how something is has a tone.
func TestTones(t *testing.T) {
	t.Parallel()
	for _, status := range run.Statuses() {
		if tone(status) == neutral {
			t.Errorf("status %s has no tone", status)
		}
	}
	for _, state := range run.StateNames() {
		if tone(state) == neutral {
			t.Errorf("state %s has no tone", state)
		}
	}
}

// The worst of a day is drawn, and what is not known is not drawn as well.
func TestTimeline(t *testing.T) {
	t.Parallel()
	end := time.Date(2026, 11, 27, 16, 0, 0, 0, time.UTC)
	hour := func(n int, missing, stale int64, delivery run.DeliveryState) run.Sample {
		return run.Sample{At: end.Add(-time.Duration(n) * time.Hour), Differing: map[product.Kind]int64{product.Missing: missing, product.Stale: stale}, Delivery: delivery}
	}
	samples := []run.Sample{hour(30, 9, 0, run.Severed), hour(3, 0, 0, run.Severed), hour(2, 60, 40, run.Flowing), hour(1, 0, 1, run.Flowing)}
	day := draw("24 hours", "15:04", samples, end, time.Hour, 24)
	if len(day.Gaps) != 21 || len(day.Outages) != 1 || len(day.Bars) != 3 || day.Peak != "at most 100" || day.From != "16:00" ||
		day.Summary != "products differed in 2 hours, events did not arrive in 1 hour" {
		t.Errorf("%+v", day)
	}
	if high, low := day.Bars[0], day.Bars[2]; high.Height != 60 || high.Y != 40 || low.Height != 2 || low.Y != 98 || low.Title != "Nov 27 15:00: 1 stale" {
		t.Errorf("%+v", day.Bars)
	}
	samples[3].Lag = 3 * time.Hour
	if lags := draw("24 hours", "15:04", samples, end, time.Hour, 24); !strings.HasSuffix(lags.Summary, ", detectors were up to 3 h behind") {
		t.Error(lags.Summary)
	}
	samples[3].Lag = 0
	month := draw("30 days", "Jan 2", samples, end, 24*time.Hour, 30)
	if len(month.Gaps) != 28 || len(month.Outages) != 2 || month.Summary != "products differed in 2 days, events did not arrive in 2 days" {
		t.Errorf("%+v", month)
	}
}
