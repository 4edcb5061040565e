package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/cobra"

	"github.com/ecom-micro/etl/internal/ledger"
	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/rabbit"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/source"
	"github.com/ecom-micro/etl/internal/target"
	"github.com/ecom-micro/etl/producer"
)

func newDoctorCommand(t terminal, env envconfig.Lookuper) *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Check everything that a first run needs, one line each",
		Long:  "Checks the configuration, every connection, the rights, the cart's columns, the\ncart's exchange and queues, their consumers, and the clocks. Nothing is changed. The\nexit code is 0 when nothing failed, 2 for a wrong configuration, else 3.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d := &doctor{out: t.out, colour: wantsColour(t.out)}
			c, err := load(cmd.Context(), env, func(c *config) []section {
				return []section{&c.Source, &c.Target, &c.Rabbit, &c.Replay, &c.Sync, &c.Ledger}
			})
			if err != nil {
				return err
			}
			d.pass("configuration", "all variables are there and well-formed")
			d.examineService(cmd.Context(), env)
			var clean cleanup
			defer clean.run(cmd.Context())
			d.examineSource(cmd.Context(), c, &clean)
			d.examineTarget(cmd.Context(), c, &clean)
			d.examineLedger(cmd.Context(), c)
			d.examineBroker(cmd.Context(), c, &clean)
			if d.failed > 0 {
				return fmt.Errorf("%d checks failed", d.failed)
			}
			return nil
		},
	}
}

// doctor prints one line a check.
type doctor struct {
	out    io.Writer
	colour bool
	failed int
	kinds  run.Kinds // that the scheduled runs repair
}

func (d *doctor) pass(what, detail string) { d.line(text.FgGreen, "ok", what, detail) }

func (d *doctor) warn(what, detail string) { d.line(text.FgYellow, "warn", what, detail) }

func (d *doctor) fail(what string, err error) {
	d.failed++
	d.line(text.FgRed, "FAIL", what, strings.ReplaceAll(err.Error(), "\n", "; "))
}

func (d *doctor) line(c text.Color, mark, what, detail string) {
	fmt.Fprintf(d.out, "%s  %-22s %s\n", coloured(d.colour, c, fmt.Sprintf("%-4s", mark)), what, detail)
}

// skewLimit is how far a server's clock may be off before settling times suffer.
const skewLimit = 5 * time.Second

func (d *doctor) clock(what string, skew time.Duration) {
	if skew.Abs() > skewLimit {
		d.warn(what, fmt.Sprintf("is %s off ours: products settle too early or too late, so synchronise the clocks (NTP)", skew))
		return
	}
	d.pass(what, fmt.Sprintf("within %s of ours", max(skew.Abs(), time.Millisecond)))
}

// examineService looks at the variables that only `etl serve` reads.
func (d *doctor) examineService(ctx context.Context, env envconfig.Lookuper) {
	if _, err := load(ctx, env, func(c *config) []section {
		return []section{&c.Worker, &c.Schedule, &c.Tick, &c.API, &c.Service}
	}); err != nil {
		d.warn("service", strings.ReplaceAll(err.Error(), "\n", ";")+" (commands do without, `etl serve` does not)")
	} else {
		d.pass("service", "has the variables that `etl serve` needs")
	}
	d.kinds = run.Kinds{product.Missing}
	if c, err := load(ctx, env, func(c *config) []section { return []section{&c.Tick} }); err == nil {
		d.kinds = c.Tick.order().Repair
	}
	for _, name := range unknownVariables(env) {
		d.warn("variables", name+" is set, and nothing reads a variable of this name")
	}
}

func (d *doctor) examineSource(ctx context.Context, c *config, clean *cleanup) {
	src, err := source.Open(c.Source)
	if err != nil {
		d.fail("product service", err)
		return
	}
	clean.add(func(ctx context.Context) { _ = src.Close(ctx) })
	skew, err := src.Ping(ctx)
	if err != nil {
		d.fail("product service", err)
		return
	}
	d.pass("product service", "connected, "+src.Name()+" may be read")
	d.clock("product service clock", skew)
	exists, err := src.Exists(ctx)
	if err == nil && !exists {
		err = fmt.Errorf("%s does not exist: check the database name of PRODUCT_SERVICE_MONGODB_URL and PRODUCT_COLLECTION", src.Name())
	}
	if err != nil {
		d.fail("products", err)
		return
	}
	count, err := src.EstimatedCount(ctx)
	if err != nil {
		d.fail("products", err)
		return
	}
	d.pass("products", "about "+grouped(count))
	unsupported, err := src.Unsupported(ctx)
	switch {
	case err != nil:
		d.fail("product ids", err)
	case len(unsupported) > 0:
		d.warn("product ids", fmt.Sprintf("of types that cannot be compared: %v", unsupported))
	default:
		d.pass("product ids", "all of supported types")
	}
}

func (d *doctor) examineTarget(ctx context.Context, c *config, clean *cleanup) {
	tgt, err := target.Open(ctx, c.Target)
	if err != nil {
		d.fail("cart service", err)
		return
	}
	clean.add(func(context.Context) { tgt.Close() })
	skew, err := tgt.Ping(ctx)
	if err != nil {
		d.fail("cart service", err)
		return
	}
	d.pass("cart service", "connected to "+tgt.Name())
	d.clock("cart service clock", skew)
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
	if unchecked := tgt.Unchecked(); len(unchecked) > 0 {
		d.warn("cart constraints", fmt.Sprintf("only the database can judge %v, so replay is refused: use --mode direct", unchecked))
	} else {
		d.pass("cart constraints", "can be checked before a repair")
	}
	d.examineDirect(tgt)
	lock, err := tgt.Lock(ctx)
	switch {
	case errors.Is(err, target.ErrLocked):
		d.warn("other runs", err.Error())
	case err != nil:
		d.fail("other runs", err)
	default:
		lock.Release(ctx)
		d.pass("other runs", "none is active")
	}
}

// examineDirect says which kinds of difference the role may repair directly. That it
// may not repair one which nobody asks for is no reason to worry.
func (d *doctor) examineDirect(tgt *target.Target) {
	var able run.Kinds
	var unable []string
	say := d.pass
	for _, kind := range product.Kinds() {
		_, err := tgt.Writer(1, []product.Kind{kind})
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

func (d *doctor) examineLedger(ctx context.Context, c *config) {
	memory, err := ledger.Open(ctx, c.Ledger, c.Target.Address())
	if err != nil {
		d.fail("ledger", err)
		return
	}
	defer memory.Close()
	current, err := memory.Check(ctx)
	switch {
	case err != nil:
		d.fail("ledger", err)
	case !current:
		d.pass("ledger", "schema etl_ledger will be created or updated by the first run that repairs")
	default:
		d.pass("ledger", "schema etl_ledger is there")
	}
}

func (d *doctor) examineBroker(ctx context.Context, c *config, clean *cleanup) {
	management, err := rabbit.NewManagement(c.Rabbit)
	if err != nil {
		d.fail("management API", err)
		return
	}
	b := &broker{monitor: rabbit.NewConnection(c.Rabbit, monitorName), management: management}
	clean.add(func(context.Context) { b.monitor.Close() })
	if err := b.monitor.CheckTopology(ctx); err != nil {
		d.fail("broker", err)
		return
	}
	d.pass("broker", "connected, exchange "+rabbit.Exchange+" and the cart's queues are there")
	for _, queue := range rabbit.CartQueues() {
		d.examineQueue(ctx, b, queue)
	}
	d.examinePublishing(ctx, c, clean)
	if management == nil {
		d.warn("management API", "not used: with RABBITMQ_MANAGEMENT_URL, unacknowledged events are seen and consumers are known by name")
		return
	}
	for _, queue := range rabbit.CartQueues() {
		bound, err := management.Bound(ctx, rabbit.Exchange, queue, queue)
		if err == nil && !bound {
			err = fmt.Errorf("queue %s is not bound to exchange %s with routing key %s: restart the Cart Service, which binds it", queue, rabbit.Exchange, queue)
		}
		if err != nil {
			d.fail("bindings", err)
			return
		}
	}
	d.pass("bindings", "events reach the cart's queues")
}

// examinePublishing asks whether a replay may publish its events. Direct mode does
// without.
func (d *doctor) examinePublishing(ctx context.Context, c *config, clean *cleanup) {
	exchange, way := "", "to the cart's queues by their names"
	if c.Replay.Route == producer.ByExchange {
		exchange, way = rabbit.Exchange, "to exchange "+rabbit.Exchange
	}
	conn := rabbit.NewConnection(c.Rabbit, producerName)
	clean.add(func(context.Context) { conn.Close() })
	const patience = 10 * time.Second
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("no answer within %s", patience))
	defer cancel()
	if err := conn.CheckWrite(ctx, exchange); err != nil {
		if blocked := conn.Blocked(); blocked != "" {
			err = fmt.Errorf("the broker blocks publishers: %s", blocked)
		}
		d.warn("replay", err.Error())
		return
	}
	d.pass("replay", "events may be published "+way)
}

func (d *doctor) examineQueue(ctx context.Context, b *broker, queue string) {
	what := "queue " + strings.TrimPrefix(queue, "product-")
	state, err := b.monitor.Queue(queue).State(ctx)
	if err != nil {
		d.fail(what, err)
		return
	}
	waiting := fmt.Sprintf("%s events waiting, ", grouped(int64(state.Ready)))
	switch {
	case state.Consumers == 0 && state.Ready > 0:
		d.fail(what, fmt.Errorf("%snobody consumes %s: start the Cart Service; if it keeps dying, the first event of the queue is one that it cannot store", waiting, queue))
	case state.Consumers == 0:
		d.fail(what, fmt.Errorf("nobody consumes %s: start the Cart Service, or restart it if it runs but lost its connection", queue))
	case state.Consumers > 1:
		names := ""
		if b.management != nil {
			if list, err := b.consumerNames(ctx, queue); err == nil {
				names = " (" + strings.Join(list, ", ") + ")"
			}
		}
		d.warn(what, fmt.Sprintf("%s%d consumers%s: each event reaches only one of them, so a foreign one takes events from the cart", waiting, state.Consumers, names))
	default:
		d.pass(what, waiting+"1 consumer")
	}
}
