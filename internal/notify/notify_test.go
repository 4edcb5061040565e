package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/secret"
)

// outbox is one in memory.
type outbox struct {
	mu      sync.Mutex
	notices []*run.Notice
	told    map[int64]error
	again   map[int64]time.Duration
}

func (o *outbox) TakeNotice(context.Context, time.Duration) (*run.Notice, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.notices) == 0 {
		return nil, nil
	}
	n := o.notices[0]
	o.notices = o.notices[1:]
	n.Attempts++
	return n, nil
}

func (o *outbox) Told(_ context.Context, id int64, problem error, again time.Duration) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.told == nil {
		o.told, o.again = make(map[int64]error), make(map[int64]time.Duration)
	}
	o.told[id], o.again[id] = problem, again
	return nil
}

const key = secret.Text("the webhook's and ours")

func TestSend(t *testing.T) {
	t.Parallel()
	var got message
	var signed bool
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || json.Unmarshal(body, &got) != nil {
			t.Errorf("%s, %v", body, err)
		}
		signed = r.Header.Get(HeaderSignature) == "sha256="+Sign(key, r.Header.Get(HeaderTimestamp), body)
	}))
	defer hook.Close()
	box := &outbox{notices: []*run.Notice{{ID: 7, Subject: "delivery", Event: run.DeliveryBroken, Text: `<!channel> a lamp & "more"`, Run: "r"}}}
	s := New(Config{URL: secret.Hook(hook.URL), Secret: key}, "products", box)
	counted := 0
	s.Count = func(told bool) {
		if told {
			counted++
		}
	}
	if told, err := s.Next(t.Context()); !told || err != nil || box.told[7] != nil || counted != 1 {
		t.Errorf("%v, %v, %v, %d", told, err, box.told, counted)
	}
	if got.Text != `&lt;!channel&gt; a lamp &amp; "more"` || got.Event != run.DeliveryBroken || got.Subject != "delivery" || got.Pipeline != "products" || got.Run != "r" || !signed {
		t.Errorf("%+v, signed %v", got, signed)
	}
	if told, err := s.Next(t.Context()); told || err != nil {
		t.Errorf("%v, %v", told, err)
	}
}

// What goes wrong is said without the URL, whose path is a secret, and tried again.
func TestSendFails(t *testing.T) {
	t.Parallel()
	var elsewhere int
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere++ }))
	defer other.Close()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	for name, tt := range map[string]struct {
		url    string
		answer http.HandlerFunc
		want   string
	}{
		"an error": {answer: func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no_service", http.StatusNotFound) }, want: "the webhook answers 404 Not Found: no_service"},
		"a redirect": {answer: func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
		}, want: "redirects are not followed"},
		"nobody there": {url: gone.URL, want: "the webhook does not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := tt.url
			if tt.answer != nil {
				hook := httptest.NewServer(tt.answer)
				defer hook.Close()
				address = hook.URL
			}
			box := &outbox{notices: []*run.Notice{{ID: 1}}}
			s := New(Config{URL: secret.Hook(address + "/services/T0/hush-hush")}, "p", box)
			told, err := s.Next(t.Context())
			if !told || err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hush") {
				t.Errorf("%v, %v", told, err)
			}
			if problem := box.told[1]; problem == nil || strings.Contains(problem.Error(), "hush") || box.again[1] != 5*time.Second {
				t.Errorf("%v, again in %s", problem, box.again[1])
			}
		})
	}
	if elsewhere > 0 {
		t.Error("a redirect was followed")
	}
}

func TestPause(t *testing.T) {
	t.Parallel()
	last, all := time.Duration(0), time.Duration(0)
	for attempts := 1; attempts < giveUp; attempts++ {
		p := pause(attempts)
		if p < last || p > longest {
			t.Errorf("%s behind attempt %d", p, attempts)
		}
		last, all = p, all+p
	}
	if pause(giveUp) != 0 || all < 18*time.Hour || all > 30*time.Hour {
		t.Errorf("it is given up after %s", all)
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		config Config
		wrong  string
	}{
		{Config{}, ""},
		{Config{URL: "https://hooks.chat.example/services/hush"}, ""},
		{Config{URL: "http://127.0.0.1:8080/", Secret: "x"}, ""},
		{Config{Secret: "x"}, ""}, // which is remarked on
		{Config{URL: "hooks.chat.example/hush"}, "must be a URL"},
		{Config{URL: "ftp://chat.example/hush"}, "must be a URL"},
		{Config{URL: "https://"}, "must be a URL"},
		{Config{URL: "https://me:hush@chat.example/"}, "has a user in it"},
	} {
		err := tt.config.Validate()
		if (err != nil) != (tt.wrong != "") || err != nil && (!strings.Contains(err.Error(), tt.wrong) || strings.Contains(err.Error(), "hush")) {
			t.Errorf("%s: %v", tt.config.URL, err)
		}
	}
	if shown := fmt.Sprint(Config{URL: "https://hooks.chat.example/services/hush"}); !strings.Contains(shown, "https://hooks.chat.example/********") || strings.Contains(shown, "hush") {
		t.Error(shown)
	}
	if alone := (&Config{Secret: "x"}).Remarks(); len(alone) != 1 || len((&Config{URL: "https://a", Secret: "x"}).Remarks()) > 0 {
		t.Error(alone)
	}
	if errors.Is(hidden(context.DeadlineExceeded), context.Canceled) {
		t.Error("a deadline is no end")
	}
}
