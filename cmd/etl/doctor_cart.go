package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ecom-micro/etl/internal/app"
	"github.com/ecom-micro/etl/internal/ledger"
	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/target"
)

func (d *doctor) examineTarget(ctx context.Context, c *app.Config, clean *app.Cleanup) {
	tgt, err := target.Open(ctx, c.Target)
	if err != nil {
		d.fail("cart service", err)
		return
	}
	clean.Add("the connections to the cart's database", app.Closing(tgt.Close))
	skew, err := tgt.Ping(ctx)
	if err != nil {
		d.fail("cart service", err)
		return
	}
	d.pass("cart service", "connected to "+tgt.Name())
	d.clock("cart service clock", skew)
	if limits := tgt.Limits(); len(limits) > 0 {
		d.pass("cart service limits", "etl sets its own in the place of "+strings.Join(limits, ", "))
	}
	if err := tgt.Describe(ctx); err != nil {
		d.fail("cart table", err)
		return
	}
	table := tgt.Table()
	order := "rows are looked up by id"
	if table.HexOrdered || table.BytewiseOrdered {
		order = "ids sort as the source's, so ranges are read together"
	}
	d.pass("cart table", "has the columns that a product needs; "+order)
	d.examineConstraints(tgt)
	d.examineRows(ctx, tgt)
	d.examineRoles(ctx, tgt)
	d.examineDirect(tgt)
	lock, err := tgt.Lock(ctx)
	switch {
	case errors.Is(err, target.ErrLocked):
		d.warn("cart's lock", err.Error())
	case err != nil:
		d.fail("cart's lock", err)
	default:
		lock.Release(ctx)
		d.pass("cart's lock", "nobody holds it")
	}
}

// examineConstraints says what of the table is judged before a repair and what cannot
// be, by the kinds of difference that cannot be replayed for it.
func (d *doctor) examineConstraints(tgt *target.Target) {
	parts := []string{"there is nothing to check before a repair but types and NOT NULL"}
	if checked := tgt.Checked(); len(checked) > 0 {
		parts[0] = "checked before a repair: " + strings.Join(checked, ", ")
	}
	say := d.pass
	for _, kind := range product.Kinds() {
		unchecked := tgt.Unchecked([]product.Kind{kind})
		if len(unchecked) == 0 {
			continue
		}
		parts = append(parts, fmt.Sprintf("only the database can judge %s, so what is %s is not replayed: use --mode direct", strings.Join(unchecked, ", "), kind))
		if d.kinds.Has(kind) {
			say = d.warn
		}
	}
	say("cart constraints", strings.Join(parts, "; "))
}

// examineRows reads as a run does, which a lock of another session may keep it from.
func (d *doctor) examineRows(ctx context.Context, tgt *target.Target) {
	if _, err := tgt.Find(ctx, []product.ID{"any"}); err != nil {
		d.fail("cart rows", err)
		return
	}
	d.pass("cart rows", "can be read")
}

// examineRoles looks whether the Cart Service means the table that is compared here.
func (d *doctor) examineRoles(ctx context.Context, tgt *target.Target) {
	astray, err := tgt.Astray(ctx)
	if err != nil {
		d.fail("cart roles", err)
		return
	}
	if len(astray) == 0 {
		d.pass("cart roles", "who may fill the table finds it by its bare name, or names its schema")
	}
	for _, role := range astray {
		d.warn("cart roles", fmt.Sprintf("%s, not %s: ALTER ROLE … SET search_path, or name the other schema in CART_SCHEMA", role, tgt.Table().Name))
	}
}

// examineDirect says which kinds of difference the role may repair directly. That it
// may not repair one which nobody asks for is no reason to worry.
func (d *doctor) examineDirect(tgt *target.Target) {
	if err := tgt.ReadOnly(); err != nil {
		d.warn("direct mode", err.Error())
		return
	}
	var able run.Kinds
	var unable []string
	say := d.pass
	for _, kind := range product.Kinds() {
		_, err := tgt.Writer([]product.Kind{kind})
		if err == nil {
			able = append(able, kind)
			continue
		}
		unable = append(unable, fmt.Sprintf("not %s: %v", kind, err))
		if d.kinds.Has(kind) {
			say = d.warn
		}
	}
	text := "repairs no kind"
	if len(able) > 0 {
		text = "repairs what is " + strings.ReplaceAll(able.String(), ",", ", ")
	}
	say("direct mode", strings.Join(append([]string{text}, unable...), "; "))
}

func (d *doctor) examineLedger(ctx context.Context, c *app.Config, clean *app.Cleanup) {
	memory, err := app.ConnectLedger(ctx, c, clean)
	if err != nil {
		d.fail("ledger", err)
		return
	}
	current, err := memory.Check(ctx)
	switch {
	case err != nil:
		d.fail("ledger", err)
	case !current:
		d.pass("ledger", "schema etl_ledger will be created or updated by the first run that repairs")
	default:
		d.pass("ledger", "schema etl_ledger is there")
		d.examineRuns(ctx, memory)
		d.examineDetectors(ctx, memory)
	}
}

// examineDetectors tells what looks for lost events between scheduled runs, where anything does.
func (d *doctor) examineDetectors(ctx context.Context, memory *ledger.Ledger) {
	found, err := memory.Detection(ctx)
	if err != nil {
		d.fail("detectors", err)
		return
	}
	for _, one := range found.Detectors {
		what := "detector " + string(one.Name)
		switch seen := "has never looked"; {
		case one.Problem != "":
			d.warn(what, one.Problem)
		default:
			if !one.LookedAt.IsZero() {
				seen = "looked " + time.Since(one.LookedAt).Round(time.Second).String() + " ago"
			}
			d.pass(what, fmt.Sprintf("%s; checked so far: %d, of which differed: %d", seen, one.Checked, one.Differing))
		}
	}
}

// examineRuns tells of the run that others would have to wait for.
func (d *doctor) examineRuns(ctx context.Context, memory *ledger.Ledger) {
	active, err := memory.Active(ctx, run.RepairSlot)
	switch {
	case err != nil:
		d.fail("active run", err)
	case active == nil:
		d.pass("active run", "none")
	case active.Status == run.StatusQueued:
		d.warn("active run", fmt.Sprintf("%v", blocked(&run.ActiveError{Active: *active})))
	default:
		d.pass("active run", fmt.Sprintf("run %s is %s: %s", active.ID, active.Status, stateOf(active)))
	}
}
