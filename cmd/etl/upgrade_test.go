package main

import (
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/testenv"
	"github.com/ecom-micro/etl/internal/words"
)

// oldest builds the oldest program that may share a ledger with this one: the last one
// that knows only the first of the schemas that say which programs can use them.
func oldest(t *testing.T) (binary string) {
	t.Helper()
	said := func(name string, args ...string) string {
		output, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
		if err != nil {
			t.Skipf("%s %s says %s: an older program is built from the history of the repository", name, args[0], output)
		}
		return strings.TrimSpace(string(output))
	}
	root := said("git", "rev-parse", "--show-toplevel")
	if said("git", "rev-parse", "--is-shallow-repository") != "false" {
		t.Skip("this is a shallow clone, and an older program is built from the history of the repository: git fetch --unshallow")
	}
	const migrations = "internal/ledger/migrations"
	first := strings.Fields(said("git", "-C", root, "log", "--reverse", "--format=%H", "-S", "etl_ledger.compatibility", "--", migrations))
	if len(first) == 0 {
		t.Skip("the history of the repository does not go back to the first schema that says which programs can use it")
	}
	second := strings.Fields(said("git", "-C", root, "log", "--reverse", "--format=%P", "--diff-filter=A", first[0]+"..HEAD", "--", migrations))
	if len(second) == 0 {
		t.Skip("there is only one schema that says which programs can use it")
	}
	commit, folder := second[0], t.TempDir()
	archive := filepath.Join(folder, "source.tar")
	binary = filepath.Join(folder, "etl")
	said("git", "-C", root, "archive", "-o", archive, commit)
	said("tar", "-xf", archive, "-C", folder, "--one-top-level=source")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "./cmd/etl")
	build.Dir = filepath.Join(folder, "source")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the program of commit %s: %v\n%s", commit, err, output)
	}
	t.Logf("the older program is that of commit %s", commit)
	return binary
}

// pod is a process of one version.
type pod struct {
	*replica
	pid int
}

// upgraded is a shop whose service is brought to another version and back.
type upgraded struct {
	*shop
	env map[string]string
	old string // the binary of the older version
}

func (u *upgraded) start(older bool) *pod {
	u.tb.Helper()
	p := u.with(serviceDefaults).with(u.env).command(context.WithoutCancel(u.tb.Context()), "serve")
	if older {
		p.Path = u.old
	}
	r, process := u.serveFrom(p)
	return &pod{r.ready(), process.Pid}
}

// has tells whether the pod executes the run, or did so last.
func (p *pod) has(shown record) bool {
	return strings.Contains(shown.Owner, fmt.Sprintf("process %d,", p.pid))
}

// lost is how many rows the cart loses each time.
const lost = 60

// repairs asks a pod for a run that has something to repair.
func (u *upgraded) repairs(by *pod) record {
	u.tb.Helper()
	u.cart.Exec("DELETE FROM product WHERE id IN (SELECT id FROM product ORDER BY id LIMIT $1)", lost)
	return by.post("/api/etl/sync", `{"maxRepairs":1000,"batchSize":20}`)
}

func (u *upgraded) repaired(by *pod, id string) record {
	u.tb.Helper()
	shown := by.ended(id)
	if shown.Status != run.StatusSucceeded {
		u.tb.Fatalf("%+v %+v", shown, shown.Report)
	}
	u.wantComplete()
	return shown
}

// alone lets the only pod repair.
func (u *upgraded) alone(p *pod) {
	u.tb.Helper()
	if shown := u.repaired(p, u.repairs(p).ID); !p.has(shown) {
		u.tb.Errorf("%q had the run", shown.Owner)
	}
}

// both asks the pods for runs in turn until each has claimed one.
func (u *upgraded) both(pods ...*pod) {
	u.tb.Helper()
	var claimed [2]int
	for i := range 20 {
		by := pods[i%2]
		shown := by.ended(by.post("/api/etl/sync", `{"dryRun":true}`).ID)
		if shown.Status != run.StatusSucceeded {
			u.tb.Fatalf("%+v", shown)
		}
		for j, p := range pods {
			if p.has(shown) {
				claimed[j]++
			}
		}
		if claimed[0] > 0 && claimed[1] > 0 {
			return
		}
	}
	u.tb.Errorf("the pods have claimed %v runs", claimed)
}

// replace ends a pod in the middle of a run, which the other goes on with.
func (u *upgraded) replace(ending, staying *pod) {
	u.tb.Helper()
	for range 10 {
		shown := u.repairs(ending)
		ending.while(shown, "the first events", func(p *words.ProgressDocument) bool { return p.Acted > 0 })
		ending.get("/api/etl/runs/"+shown.ID, &shown)
		if !ending.has(shown) {
			u.repaired(staying, shown.ID)
			continue
		}
		ending.stop()
		if o := ending.wait(); o.code != exitOK {
			u.tb.Errorf("it ended with %d", o.code)
		}
		if shown = u.repaired(staying, shown.ID); !staying.has(shown) || shown.Takeovers != 1 {
			u.tb.Errorf("%+v", shown)
		}
		return
	}
	u.tb.Error("the pod that is to end never had the run")
}

// The oldest program that may share a ledger with this one, and this one, through a
// rolling upgrade and back: both claim, and each goes on with what the other has begun.
func TestLongRollingUpgrade(t *testing.T) {
	testenv.Long(t)
	t.Parallel()
	s := newShop(t, 300, none)
	s.consumer(slowly)
	u := &upgraded{s, map[string]string{"REPLAY_MAX_QUEUE_DEPTH": "10", "ETL_LEASE": "10s", "ETL_DRAIN_TIMEOUT": "10s"}, oldest(t)}
	before := u.start(true)
	u.alone(before)
	first := s.number("SELECT max(version_id) FROM etl_ledger.goose_db_version")
	after := u.start(false)
	if now := s.number("SELECT max(version_id) FROM etl_ledger.goose_db_version"); now <= first {
		t.Errorf("the schema was of version %d, and is of version %d", first, now)
	}
	before.ready()
	u.both(before, after)
	u.replace(before, after)
	u.alone(after)
	// What only a program of the future can read is left alone by both.
	s.broker.PublishTo("etl", "sync", amqp.Publishing{Body: []byte(`{"version":2,"shards":7}`)})
	future := func(p *pod) (page runPage) {
		testenv.Eventually(t, watchFor, func() bool {
			return p.get("/api/etl/runs?trigger=message", &page) == http.StatusOK && len(page.Runs) == 1
		}, "the request to be kept")
		return page
	}
	kept := future(after).Runs[0]
	if kept.Status != run.StatusWaiting || !strings.HasPrefix(kept.Error, "needs a newer version of etl") {
		t.Errorf("it is %+v", kept)
	}

	again := u.start(true)
	u.both(again, after)
	u.replace(after, again)
	u.alone(again)
	if same := future(again).Runs[0]; same.ID != kept.ID || same.Status != run.StatusWaiting || same.Takeovers != 0 {
		t.Errorf("it is %+v", same)
	}
	again.ready()
}
