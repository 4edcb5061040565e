package memoryledger

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/ecom-micro/etl/internal/run"
)

// note keeps that somebody steered. The lock is held.
func (l *Ledger) note(deed run.Deed, by run.Actor, steered, made string) {
	l.actions = append(l.actions, run.Action{At: l.now().at, Deed: deed, By: by.Name, Trigger: by.Trigger, Run: steered, NewRun: made})
}

// Actions returns a page of what people did, the latest first.
func (l *Ledger) Actions(ctx context.Context, f run.ActionFilter) (run.ActionPage, error) {
	leave, err := l.enter(ctx, "Actions")
	if err != nil {
		return run.ActionPage{}, err
	}
	defer leave()
	end := len(l.actions)
	if f.Before != "" {
		n, err := strconv.Atoi(strings.TrimPrefix(f.Before, "before "))
		if err != nil || n < 0 || n >= end || !strings.HasPrefix(f.Before, "before ") {
			return run.ActionPage{}, fmt.Errorf("%w: %q", run.ErrCursor, f.Before)
		}
		end = n
	}
	page := run.ActionPage{Actions: []run.Action{}}
	last := end
	for i, a := range slices.Backward(l.actions[:end]) {
		if f.Run != "" && a.Run != f.Run || a.At.Before(f.Since) {
			continue
		}
		if len(page.Actions) == limited(f.Limit) {
			page.Next = "before " + strconv.Itoa(last)
			break
		}
		page.Actions, last = append(page.Actions, a), i
	}
	return page, nil
}
