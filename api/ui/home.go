package ui

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/ecom-micro/etl/api"
	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/words"
)

// home answers, in this order: is the cart complete, can events arrive, what runs, what waits
// for a person, since when, and when the next scheduled run is.
type home struct {
	Verdict   verdict
	Chain     chain
	Running   []running
	Waiting   []waiting
	Letters   int // dead ones
	Timeline  []timeline
	Lately    []run.Record
	Detection detection
	Scheduler scheduler
	Steers    bool
}

// verdict is whether the cart is complete, in words.
type verdict struct {
	Tone, Headline, Proof string
	Tiles                 []tile
	Run                   string // that compared everything last
	At                    time.Time
}

// tile is one number.
type tile struct {
	Name, Meaning string
	Number        int64
	Tone          string
	Link          string // to its products
}

// running is an active run.
type running struct {
	Record      run.Record
	Message     string
	Done, Total int64
	What        string // Done and Total count
	Waits       string
	Rate, Left  string // empty where they are not known
	Phases      []phase
}

type phase struct {
	Name   run.Phase
	State  string // "done", "current" or "to come"
	Lasted time.Duration
}

// waiting is something that a run has left to a person.
type waiting struct {
	Record run.Record
	Reason string
	Do     string // what the button says
	Link   string
}

type detection struct {
	Detectors []detector
	Pending   int64
}

type detector struct {
	run.DetectorState
	Meaning string
}

type scheduler struct {
	api.Schedule
	On bool
	By string
	At time.Time
}

func (u *UI) getHome(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	o, err := u.api.Overview(ctx)
	if err != nil {
		return err
	}
	h := home{
		Chain: u.chainOf(u.delivery(ctx)), Steers: api.Caller(ctx).Steers(),
		Scheduler: scheduler{Schedule: u.parts.Schedule(), On: o.Wanted.On, By: o.Wanted.By, At: o.Wanted.At},
		Detection: detectionOf(o.Detection),
	}
	if h.Verdict, err = u.verdict(ctx, &o); err != nil {
		return err
	}
	if h.Timeline, err = u.timeline(ctx); err != nil {
		return err
	}
	for _, active := range []*run.Record{o.Active, o.Look} {
		if active != nil {
			h.Running = append(h.Running, runningOf(*active))
		}
	}
	if h.Waiting, err = u.waiting(ctx, &o); err != nil {
		return err
	}
	h.Letters = u.lettersWaiting(ctx)
	const lately = 6
	page, err := u.parts.Runs.Runs(ctx, run.Filter{Limit: lately})
	if err != nil {
		return err
	}
	h.Lately = page.Runs
	return u.render(w, r, http.StatusOK, "home", "Overview", h)
}

// patience is how long a page waits for a server that it can do without.
const patience = 250 * time.Millisecond

// delivery is the way of events as it was seen a moment ago; a server that does not answer holds
// up nothing.
func (u *UI) delivery(ctx context.Context) *run.Delivery {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if h, err := u.api.Health(ctx); err == nil && h.Delivery != nil {
		return h.Delivery
	}
	return u.parts.Probes.Delivery()
}

// lettersWaiting are the dead letters, 0 where the broker does not say at once.
func (u *UI) lettersWaiting(ctx context.Context) int {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	n, err := u.api.LettersWaiting(ctx)
	if err != nil {
		return 0 // the line of delivery says what is wrong with the broker
	}
	return n
}

// verdict judges the cart by what is open now, and by the last look at all products.
func (u *UI) verdict(ctx context.Context, o *api.Overview) (verdict, error) {
	drift, err := u.api.Drift(ctx)
	if err != nil {
		return verdict{}, err
	}
	missing, stale, orphaned := drift.Differing(product.Missing), drift.Differing(product.Stale), drift.Differing(product.Orphaned)
	blocked, onItsWay := drift.In(run.Blocked), drift.In(run.InFlight)
	proof := u.api.Proof(ctx, o)
	v := verdict{Tone: neutral, Headline: "It is not known whether the cart is complete", Proof: "No run has compared the two stores to the end yet."}
	if proof != nil {
		v.Run, v.At = o.Validation.ID, o.Validation.Finished
		v.Proof = fmt.Sprintf("%s compared with %s.", words.Counted(proof.Stores.Products+proof.Stores.Unsupported, "product"), words.Counted(proof.Stores.Rows, "row"))
		v.Tone, v.Headline = good, "The cart is complete"
	}
	link := func(filter, value string) string {
		if v.Run == "" {
			return Path + "runs"
		}
		return Path + "runs/" + v.Run + "?" + filter + "=" + value + "#products"
	}
	v.Tiles = []tile{
		{"Missing", "in the Product Service and not in the cart", missing, toneOf(missing, bad), link("kind", string(product.Missing))},
		{"Stale", "in both, and different", stale, toneOf(stale, warning), link("kind", string(product.Stale))},
		{"Orphaned", "in the cart alone", orphaned, toneOf(orphaned, warning), link("kind", string(product.Orphaned))},
		{"Blocked", "of these, those that the cart cannot hold, or must keep", blocked, toneOf(blocked, bad), link("state", string(run.Blocked))},
		{"On its way", "cannot be judged yet", onItsWay, neutral, link("kind", string(product.Missing))},
	}
	switch differing := missing + stale + orphaned; {
	case missing > 0 && missing == o.Detection.Pending && proof != nil:
		v.Tone, v.Headline = warning, words.Counted(missing, "event")+" of late did not arrive"
	case missing > 0:
		v.Tone, v.Headline = bad, "The cart lacks "+words.Counted(missing, "product")
	case differing > 0:
		v.Tone, v.Headline = warning, "The cart differs in "+words.Counted(differing, "product")
	case proof == nil:
	case proof.Contradiction != "":
		v.Tone, v.Headline, v.Proof = bad, "The cart is not as it was proved to be", proof.Contradiction
	case proof.Stores.Unsupported > 0:
		v.Tone, v.Headline = warning, words.Counted(proof.Stores.Unsupported, "product")+" cannot be compared"
	case onItsWay > 0:
		v.Headline = "The cart is complete, as far as it can be judged yet"
	}
	if n := o.Detection.Pending; n > 0 {
		v.Proof += " Detectors have found " + words.Counted(n, "lost event") + " since, and a run is asked for."
	}
	return v, nil
}

// toneOf is quiet where there is nothing.
func toneOf(n int64, otherwise string) string {
	if n == 0 {
		return neutral
	}
	return otherwise
}

func runningOf(record run.Record) running {
	v := running{Record: record, Message: api.Message(&record, words.Pages)}
	p := record.Progress
	if p == nil {
		return v
	}
	v.Done, v.Total, v.What = words.Share(p, record.Request.Repair)
	v.Waits = words.Waits(p, words.Pages)
	v.Rate, v.Left = pace(p, v.Done, v.Total)
	v.Phases = phasesOf(p)
	return v
}

// pace is how fast the present phase goes and what that means for the rest of it.
func pace(p *run.Progress, done, total int64) (rate, left string) {
	for _, t := range p.Phases {
		if t.Phase != p.Phase || t.Milliseconds < 1000 || done == 0 {
			continue
		}
		each := float64(done) / (float64(t.Milliseconds) / 1000)
		rate = words.Number(int64(each)) + " a second"
		if total > done && each > 0 {
			left = "about " + lasted(time.Duration(float64(total-done)/each*float64(time.Second))) + " left"
		}
	}
	return rate, left
}

// phasesOf are all phases in their order.
func phasesOf(p *run.Progress) []phase {
	all := []run.Phase{run.PhasePlanning, run.PhaseComparing, run.PhaseConfirming, run.PhaseRepairing, run.PhaseProving}
	phases := make([]phase, len(all))
	for i, name := range all {
		phases[i] = phase{Name: name, State: "to come"}
		for _, t := range p.Phases {
			if t.Phase == name {
				phases[i].State, phases[i].Lasted = "done", time.Duration(t.Milliseconds)*time.Millisecond
			}
		}
		if name == p.Phase {
			phases[i].State = "current"
		}
	}
	return phases
}

// waiting are the runs whose findings wait for a person, and the products that are blocked now.
func (u *UI) waiting(ctx context.Context, o *api.Overview) (all []waiting, err error) {
	drift, err := u.api.Drift(ctx)
	if err != nil {
		return nil, err
	}
	if n := drift.In(run.Blocked); n > 0 && o.Validation != nil {
		all = append(all, waiting{Record: *o.Validation, Reason: words.Counted(n, "product") + " that the cart cannot hold, or must keep",
			Do: "See why", Link: Path + "runs/" + o.Validation.ID + "?state=blocked#products"})
	}
	const most = 5
	page, err := u.parts.Runs.Runs(ctx, run.Filter{Attention: []run.Attention{run.ToApply, run.LostProducts}, Limit: most})
	if err != nil {
		return nil, err
	}
	for _, record := range page.Runs {
		all = append(all, waitingOf(record))
	}
	return all, nil
}

func waitingOf(record run.Record) waiting {
	w := waiting{Record: record, Do: "Look at it", Link: Path + "runs/" + record.ID}
	outcomes := record.Report.Outcomes
	switch record.Attention {
	case run.ToApply:
		w.Do = "Review and repair"
		w.Reason = words.Counted(outcomes[run.Found]+outcomes[run.Skipped], "difference") + " found, and not repaired"
		if record.Report.Result == run.Stopped {
			w.Reason = "The run stopped at its findings: " + strings.TrimSuffix(w.Reason, ", and not repaired") + " found"
		}
	case run.LostProducts:
		w.Reason = words.Counted(outcomes[run.Lost], "event") + " replayed, and nothing arrived"
	}
	return w
}

func detectionOf(d run.Detection) detection {
	v := detection{Pending: d.Pending}
	meanings := map[run.Detector]string{run.Tap: "looks at what the platform announces", run.Recent: "looks at what was created lately"}
	for _, one := range d.Detectors {
		v.Detectors = append(v.Detectors, detector{one, meanings[one.Name]})
	}
	return v
}

// postScheduler turns scheduled runs on or off, or starts one now.
func (u *UI) postScheduler(w http.ResponseWriter, r *http.Request) error {
	switch r.PostForm.Get("do") {
	case "start", "stop":
		if err := u.api.SetSwitch(r.Context(), r.PostForm.Get("do") == "start"); err != nil {
			return err
		}
		goTo(w, r, Path)
	case "trigger":
		record, err := u.api.Trigger(r.Context())
		if err != nil {
			return err
		}
		goTo(w, r, Path+"runs/"+record.ID)
	default:
		return refused(http.StatusBadRequest, "it is not said what the scheduler is to do")
	}
	return nil
}
