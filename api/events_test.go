package api_test

import (
	"bufio"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecom-micro/etl/api"
	"github.com/ecom-micro/etl/internal/run"
)

// follow reads a run's events in the background, until the caller leaves or the stream
// ends. It is for synctest: read the answer when all is quiet, or has ended.
func (s *service) follow(t *testing.T, id string, headers ...string) (a *answer, leave func(), ended <-chan struct{}) {
	ctx, leave := context.WithCancel(t.Context())
	r := httptest.NewRequestWithContext(ctx, "GET", "/api/etl/runs/"+id+"/events", nil)
	r.Header.Set("Authorization", "Bearer "+token(t, admin))
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	a = &answer{t, httptest.NewRecorder()}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.handler.ServeHTTP(a, r)
	}()
	return a, leave, done
}

// events are the ids and the statuses of the events in a stream.
func (a *answer) events() (ids, statuses []string) {
	for line := range strings.Lines(a.Body.String()) {
		if id, is := strings.CutPrefix(line, "id: "); is {
			ids = append(ids, strings.TrimSpace(id))
		}
		if data, is := strings.CutPrefix(line, "data: "); is {
			_, status, _ := strings.Cut(data, `"status":"`)
			status, _, _ = strings.Cut(status, `"`)
			statuses = append(statuses, status)
		}
	}
	return ids, statuses
}

func (a *answer) wantEvents(ids, statuses string) {
	a.t.Helper()
	gotIDs, gotStatuses := a.events()
	if strings.Join(gotIDs, " ") != ids || strings.Join(gotStatuses, " ") != statuses {
		a.t.Errorf("events %v of status %v, want %q and %q", gotIDs, gotStatuses, ids, statuses)
	}
}

// pass lets time go by, until all is quiet again.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestARunIsFollowedToItsEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := setup(t)
		id := s.add(run.Record{Status: run.StatusQueued})
		a, _, ended := s.follow(t, id)
		pass(10 * time.Second)
		s.Change(id, func(r *run.Record) { r.Status = run.StatusRunning })
		pass(1500 * time.Millisecond)
		a.wantEvents("1 2", "queued running")
		s.Change(id, func(r *run.Record) { r.Takeovers++ })
		s.Change(id, done) // two changes between two looks are one event
		<-ended
		a.want(200).wantHeader("Content-Type", "text/event-stream").wantEvents("1 2 4", "queued running partial")
		if !strings.HasPrefix(a.Body.String(), "retry: 2000\n\nid: 1\nevent: run\ndata: {") || !strings.HasSuffix(a.Body.String(), "\n\n") {
			t.Errorf("the stream is\n%s", a.Body)
		}
	})
}

func TestEventsGoOnWhereTheCallerWas(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := setup(t)
		id := s.add(run.Record{Status: run.StatusRunning})
		a, leave, ended := s.follow(t, id, "Last-Event-ID", "1")
		pass(20 * time.Second)
		a.wantEvents("", "") // nothing has changed
		if !strings.Contains(a.Body.String(), ": still here\n\n") {
			t.Errorf("no heartbeat in %q", a.Body)
		}
		s.Change(id, func(r *run.Record) { r.Status = run.StatusPaused })
		pass(2 * time.Second)
		a.wantEvents("2", "paused")
		leave()
		<-ended

		again, leave, ended := s.follow(t, id, "Last-Event-ID", "1") // it missed version 2
		pass(time.Second)
		again.wantEvents("2", "paused")
		leave()
		<-ended

		s.Change(id, done)
		final, _, ended := s.follow(t, id, "Last-Event-ID", "2")
		<-ended
		final.want(200).wantEvents("3", "partial")
		none, _, ended := s.follow(t, id, "Last-Event-ID", "3")
		<-ended
		none.want(204)
		odd, _, ended := s.follow(t, id, "Last-Event-ID", "not mine")
		<-ended
		odd.want(200).wantEvents("3", "partial")
	})
}

func TestEventsSurviveALedgerThatIsAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := setup(t)
		id := s.add(run.Record{Status: run.StatusRunning})
		a, _, ended := s.follow(t, id)
		pass(1500 * time.Millisecond)
		s.with(func() { s.broken["Run"] = context.DeadlineExceeded })
		pass(time.Minute)
		s.Change(id, done)
		s.with(func() { delete(s.broken, "Run") })
		<-ended
		a.wantEvents("1 2", "running partial")
	})
}

func TestStreamsEnd(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(s *service, id string){
		"when the service stops":       func(s *service, _ string) { s.api.Drain() },
		"when the ledger forgets":      func(s *service, id string) { s.Remove(id) },
		"after an hour, to come again": func(*service, string) { pass(time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := setup(t)
				id := s.add(run.Record{Status: run.StatusRunning})
				a, _, ended := s.follow(t, id)
				pass(time.Second)
				end(s, id)
				<-ended
				a.want(200).wantEvents("1", "running")
			})
		})
	}
}

// However many watch or wait for a run, it is read once in a second, and no more when the
// last has left.
func TestWatchersShareTheLooks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := setup(t)
		id := s.add(run.Record{Status: run.StatusRunning, Request: run.Request{Order: run.Order{DryRun: true}}})
		for range 50 {
			s.follow(t, id)
		}
		const waiters = 20
		waited := make(chan struct{}, waiters)
		for range waiters {
			go func() {
				defer func() { waited <- struct{}{} }()
				s.do("GET", "/api/etl/validate?maxAge=0s", "", "Prefer", "wait=60").want(200) // joins the comparison that is under way
			}()
		}
		pass(10 * time.Second)
		before := s.Calls("Run")
		pass(10 * time.Second)
		if n := s.Calls("Run") - before; n != 10 {
			t.Errorf("the run was read %d times in 10 s", n)
		}
		late, _, ended := s.follow(t, id)
		synctest.Wait()
		s.Change(id, done)
		<-ended
		late.wantEvents("1 2", "running partial")
		for range waiters {
			<-waited
		}
		pass(0)
		before = s.Calls("Run")
		pass(time.Minute)
		if n := s.Calls("Run") - before; n != 0 {
			t.Errorf("the run was read %d times when nobody watched it", n)
		}
	})
}

func TestStreamsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := setup(t)
		id := s.add(run.Record{Status: run.StatusRunning})
		var leave []func()
		for range api.MaxWatchers {
			_, l, _ := s.follow(t, id)
			leave = append(leave, l)
		}
		synctest.Wait()
		a, _, ended := s.follow(t, id)
		<-ended
		a.want(503, "100 callers watch runs already").wantHeader("Retry-After", "5")
		// Who cannot wait is told at once where to look.
		began := time.Now()
		s.do("POST", "/api/etl/sync", `{"dryRun":true}`, "Prefer", "wait=60").want(202)
		if waited := time.Since(began); waited != 0 {
			t.Errorf("waited %v", waited)
		}
		leave[0]()
		synctest.Wait()
		b, last, ended := s.follow(t, id)
		synctest.Wait()
		b.wantEvents("1", "running")
		for _, l := range append(leave, last) {
			l()
		}
		<-ended
	})
}

// Streams outlive the limits of a real server, and end with it.
func TestStreamsAreExemptFromTheServersLimits(t *testing.T) {
	t.Parallel()
	s := setup(t)
	id := s.add(run.Record{Status: run.StatusRunning})
	server := httptest.NewUnstartedServer(nil)
	server.Config = api.NewServer(s.api, api.Config{})
	server.Config.ReadTimeout, server.Config.WriteTimeout = 300*time.Millisecond, 300*time.Millisecond
	server.Start()
	t.Cleanup(server.Close)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/api/etl/runs/"+id+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token(t, admin))
	response, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	lines := bufio.NewScanner(response.Body)
	next := func() string { // the id of the next event
		for lines.Scan() {
			if id, is := strings.CutPrefix(lines.Text(), "id: "); is {
				return id
			}
		}
		return "end"
	}
	if got := next(); got != "1" {
		t.Fatalf("the first event is %s", got)
	}
	for _, want := range []string{"2", "3", "4", "5"} { // the last look comes after 750 ms
		s.Change(id, func(r *run.Record) { r.Takeovers++ })
		if got := next(); got != want {
			t.Fatalf("event %s, want %s: %v", got, want, lines.Err())
		}
	}
	if err := server.Config.Shutdown(t.Context()); err != nil {
		t.Errorf("shut down: %v", err)
	}
	if got := next(); got != "end" || lines.Err() != nil {
		t.Errorf("event %s (%v), want the end", got, lines.Err())
	}
}
