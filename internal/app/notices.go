package app

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/ecom-micro/etl/internal/notify"
	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/words"
)

// notices sees what people want to hear of without looking, and tells them. It looks at what the
// ledger has anyway, so that no run waits for it, and what happened while nobody looked is told
// all the same. The ledger knows what was told: any number of processes may look.
type notices struct {
	*Service
	sender *notify.Sender
	// kept is the last that this process gave to the ledger of each subject, which need not be
	// asked about the same again.
	kept map[string]run.NoticeOf
}

const (
	noticeEvery = 5 * time.Second
	// noticeFor is how long ago a run may have ended that is news.
	noticeFor = time.Hour
	// brokenFor is how long delivery is broken before people hear of it. A cart that restarts does
	// not break it at once.
	brokenFor = 15 * time.Second
)

// run looks and tells until ctx ends.
func (n *notices) run(ctx context.Context) {
	tick := time.NewTicker(noticeEvery)
	defer tick.Stop()
	log := n.log.With("component", "notices")
	last := ""
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		err := n.look(ctx)
		for told := err == nil; told; {
			if told, err = n.sender.Next(ctx); err != nil {
				break // the next one may fare better, but not at once
			}
		}
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			last = ""
		case err.Error() != last:
			last = err.Error()
			log.Warn("people were not told of what happened, and will be later", "err", err)
		}
	}
}

// look keeps what is news.
func (n *notices) look(ctx context.Context) error {
	const most = 100
	page, err := n.ledger.Runs(ctx, run.Filter{Since: time.Now().Add(-24 * time.Hour), Limit: most})
	if err != nil {
		return err
	}
	detection, err := n.ledger.Detection(ctx)
	if err != nil {
		return err
	}
	var all []run.Notice
	for i := len(page.Runs) - 1; i >= 0; i-- { // the first comes first
		if r := &page.Runs[i]; !r.Status.Active() && time.Since(r.Finished) < noticeFor {
			all = append(all, noticesOf(r)...)
		}
	}
	if way := n.probes.Delivery(); way != nil {
		all = append(all, noticesOfDelivery(way)...)
	}
	for _, d := range detection.Detectors {
		event, text := run.DetectorOn, "works again"
		if d.Problem != "" {
			event, text = run.DetectorOff, "does not work, lost events wait for scheduled runs: "+d.Problem
		}
		all = append(all, run.Notice{Subject: "detector " + string(d.Name), Event: event, Text: fmt.Sprintf("The detector %s %s", d.Name, text)})
	}
	for _, notice := range all {
		if n.kept[notice.Subject] == notice.Event {
			continue
		}
		if _, err := n.ledger.Notify(ctx, notice); err != nil {
			return err
		}
		n.keep(notice)
	}
	return nil
}

// keep remembers a notice, and forgets all where they are many.
func (n *notices) keep(notice run.Notice) {
	const most = 1000
	if n.kept == nil || len(n.kept) >= most {
		n.kept = make(map[string]run.NoticeOf)
	}
	n.kept[notice.Subject] = notice.Event
}

// noticesOf are what the end of a run tells: that it failed or left something, and else what it
// found where it looked at everything.
func noticesOf(r *run.Record) []run.Notice {
	notice := func(event run.NoticeOf, text string) []run.Notice {
		return []run.Notice{{Subject: "run " + r.ID, Run: r.ID, Event: event, Text: text}}
	}
	name := "Run " + r.ID
	switch {
	case r.Status == run.StatusFailed:
		return notice(run.RunFailed, name+" failed: "+r.Error)
	case r.Report == nil || r.Status == run.StatusCancelled:
		return nil
	case r.Report.Result == run.Stopped:
		return notice(run.RunStopped, fmt.Sprintf("%s stopped at its findings, which wait for a person: %s", name, foundIn(r.Report)))
	case r.Status == run.StatusPartial && !r.Request.DryRun:
		return notice(run.RunPartial, fmt.Sprintf("%s has not repaired everything: %s", name, words.Result(r.Report, words.Pages)))
	case r.Whole() && foundIn(r.Report) != "":
		return notice(run.DriftFound, fmt.Sprintf("%s has found %s: %s", name, foundIn(r.Report), words.Result(r.Report, words.Pages)))
	}
	return nil
}

// foundIn is what differed, empty where nothing did.
func foundIn(report *run.Report) string {
	var parts []string
	for _, kind := range product.Kinds() {
		if n := report.Found[kind]; n > 0 {
			parts = append(parts, words.Number(n)+" "+string(kind))
		}
	}
	return strings.Join(parts, ", ")
}

func noticesOfDelivery(d *run.Delivery) []run.Notice {
	switch {
	case d.State == run.Severed && time.Since(d.Since) >= brokenFor:
		return []run.Notice{{Subject: "delivery", Event: run.DeliveryBroken, Text: "Events of the Product Service do not reach the cart: " + d.Text}}
	case d.State == run.Flowing:
		return []run.Notice{{Subject: "delivery", Event: run.DeliveryHealed, Text: "Events of the Product Service reach the cart again. What was lost meanwhile is found and replayed."}}
	}
	return nil
}
