package reconcile

import (
	"slices"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// samples are the outcomes that a report names one by one. Each state of each kind has
// room of its own, so that a thousand orphaned rows do not hide the one product that
// needs a person.
type samples struct {
	groups map[sampleGroup][]run.Outcome
	more   []run.Outcome // in the order in which they came, for the room that is left
}

type sampleGroup struct {
	run.State
	product.Kind
}

// worst are the states that samples name, what needs action first.
var worst = []run.State{run.Lost, run.Failed, run.Blocked, run.InFlight, run.Skipped, run.Found, run.Undone, run.Gone}

func (s *samples) add(o run.Outcome) {
	if o.State == run.Verified { // needs no eye
		return
	}
	if s.groups == nil {
		s.groups = make(map[sampleGroup][]run.Outcome)
	}
	group := sampleGroup{o.State, o.Kind}
	switch {
	case len(s.groups[group]) < run.SampleQuota:
		s.groups[group] = append(s.groups[group], o)
	case len(s.more) < run.MaxSamples:
		s.more = append(s.more, o)
	}
}

// worstFirst are at most MaxSamples.
func (s *samples) worstFirst() []run.Outcome {
	all := []run.Outcome{}
	room := run.MaxSamples
	for _, group := range s.groups {
		room -= len(group)
	}
	more := s.more[:min(max(room, 0), len(s.more))]
	for _, state := range worst {
		for _, kind := range product.Kinds() {
			all = append(all, s.groups[sampleGroup{state, kind}]...)
			for _, o := range more {
				if o.State == state && o.Kind == kind {
					all = append(all, o)
				}
			}
		}
	}
	return slices.Clip(all[:min(len(all), run.MaxSamples)])
}
