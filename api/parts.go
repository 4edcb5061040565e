package api

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// Parts are what the API speaks to.
type Parts struct {
	Runs     Runs
	Doorbell Doorbell
	Stores   Stores
	Probes   Probes
	Letters  Letters
	Schedule func() Schedule
	Metrics  http.Handler // served at /metrics; nil is none
	// Observe, if set, hears of each request that was answered, by its route.
	Observe func(route, method string, status int, took time.Duration)
	Log     *slog.Logger
	// Pages makes the handler of everything under /api/etl/ui/, for people with a browser; nil is
	// none. It lets in whom it likes: Caller says who asks.
	Pages func(*API) http.Handler
	// ProbesOnly serves health, readiness, liveness and metrics and nothing else, as a
	// process without the role api does. Of the others only Runs may then be nil.
	ProbesOnly bool
}

// Runs is the ledger. A run that it does not have is run.ErrNotFound, a page that
// it does not have run.ErrCursor; any error not named here means that it does not
// answer.
type Runs interface {
	// Submit keeps a queued run. A taken slot is an *run.ActiveError.
	Submit(ctx context.Context, request run.Request) (run.Record, error)
	// Discard forgets a run that nobody has begun; one that has begun is an
	// *run.StatusError.
	Discard(ctx context.Context, id string) error
	Run(ctx context.Context, id string) (run.Record, error)
	Runs(ctx context.Context, filter run.Filter) (run.Page, error)
	Outcomes(ctx context.Context, id string, filter run.OutcomeFilter) (run.OutcomePage, error)
	// Active is the run that holds the slot, nil where it is free.
	Active(ctx context.Context, slot run.Slot) (*run.Record, error)
	// Latest is the run of the slot that ended last, nil where there was none.
	Latest(ctx context.Context, slot run.Slot) (*run.Record, error)
	// LatestLook is the last run that looked at all products to the end, whether or not it
	// repaired, and ended at notOlderThan or later; nil where there was none.
	LatestLook(ctx context.Context, notOlderThan time.Time) (*run.Record, error)
	// Findings are the differences of some kinds that were open in a run and can be
	// repaired; not complete where the run found more than the ledger keeps.
	Findings(ctx context.Context, id string, kinds run.Kinds) (keys []run.Key, complete bool, err error)
	// History is what became of a product in earlier runs, the latest first.
	History(ctx context.Context, id product.ID, limit int) ([]run.PastOutcome, error)
	// Ask notes what is wanted of an active run; of one that has ended it is an
	// *run.StatusError.
	Ask(ctx context.Context, id string, wanted run.Wanted, by run.Actor) (run.Record, error)
	Switch(ctx context.Context) (run.Switch, error)
	SetSwitch(ctx context.Context, on bool, by run.Actor) (run.Switch, error)
	// Actions are what people did to runs and the scheduler.
	Actions(ctx context.Context, filter run.ActionFilter) (run.ActionPage, error)
	// Detection is how far the detectors of lost events have come.
	Detection(ctx context.Context) (run.Detection, error)
	// Drift counts what is open, by kind and state.
	Drift(ctx context.Context) (run.Drift, error)
	// Samples are how the cart stood in each hour since then, the earliest first.
	Samples(ctx context.Context, since time.Time) ([]run.Sample, error)
	// LastHealth is the last scheduled health check, nil where there was none.
	LastHealth(ctx context.Context) (*run.HealthRecord, error)
}

// Doorbell tells the workers that a run is queued.
type Doorbell interface {
	// Ring returns once the broker has confirmed the message.
	Ring(ctx context.Context, request run.Request) error
}

// Stores looks into the two databases.
type Stores interface {
	// Explain looks at one product on both sides, without its history.
	Explain(ctx context.Context, id product.ID) (*run.Explanation, error)
	Statistics(ctx context.Context) (Statistics, error)
}

// Letters are the messages that were no requests, and are kept.
type Letters interface {
	// Letters are the oldest, at most limit.
	Letters(ctx context.Context, limit int) ([]Letter, error)
	// Waiting is how many there are.
	Waiting(ctx context.Context) (int, error)
	// Requeue puts those of a key back into the queue of requests, Drop deletes them. Both
	// return how many those were: none where somebody else was faster.
	Requeue(ctx context.Context, key string) (int, error)
	Drop(ctx context.Context, key string) (int, error)
}

// Letter is one of them.
type Letter struct {
	// Key names it, and those that are the same in all that matters.
	Key    string
	Reason string    // why it was refused
	From   string    // the program that sent it, as it says
	At     time.Time // when it was refused; zero where that is not known
	Body   string    // its beginning
	Size   int       // in bytes
}

// Statistics counts both stores and the events that wait.
type Statistics struct {
	Source      string           `json:"source"`
	Products    int64            `json:"products"`
	Unsupported map[string]int64 `json:"unsupportedIds"` // by BSON type
	Target      string           `json:"target"`
	Rows        int64            `json:"rows"`
	// Recent are those products whose key tells that they are younger than the settle time.
	Recent int64                      `json:"recent"`
	Queues map[string]QueueStatistics `json:"queues"`
	// Broker says why there are no figures of queues.
	Broker string `json:"brokerError,omitempty"`
}

// QueueStatistics is one queue of the cart.
type QueueStatistics struct {
	Ready     int `json:"ready"`
	Consumers int `json:"consumers"`
}

// Probes knows the state of the process and of what it depends on.
type Probes interface {
	Health(ctx context.Context) Health
	// Delivery is what Health saw last of the way of events, nil before that. It asks nobody.
	Delivery() *run.Delivery
	// Ready is quick once everything has answered, unless full.
	Ready(ctx context.Context, full bool) Readiness
}

// State is whether a dependency answers.
type State string

// The states; off is a part that this process does without.
const (
	Up   State = "up"
	Down State = "down"
	Off  State = "off"
)

// Health is the state of everything that the service depends on.
type Health struct {
	Healthy      bool
	Dependencies map[string]Dependency
	// Topology is whether exchanges and queues are as the replay needs them.
	Topology Dependency
	// Delivery is whether events of the Product Service reach the cart.
	Delivery *run.Delivery
}

// Dependency is the state of one of them.
type Dependency struct {
	State   State
	Latency time.Duration
	Detail  string // for operators: what is wrong and what to do
}

// MarshalJSON gives the latency in milliseconds.
func (d Dependency) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		State   State   `json:"state"`
		Latency float64 `json:"latencyMs"`
		Detail  string  `json:"detail,omitempty"`
	}{d.State, float64(d.Latency.Microseconds()) / 1000, d.Detail})
}

// Readiness is whether the process can do what its roles ask of it.
type Readiness struct {
	Started      bool // everything that the roles need has answered, each at least once
	Leaving      bool // the process ends
	WaitingFor   []Waiting
	Dependencies map[string]Dependency // those of the roles
}

// Waiting is one thing that a role cannot do without.
type Waiting struct {
	Role   string `json:"role"`
	For    string `json:"for"`
	Detail string `json:"detail,omitempty"` // for operators
}

// Schedule is how the scheduler is configured, the same on all replicas.
type Schedule struct {
	Enabled     bool // ENABLE_SCHEDULER
	TimeZone    string
	Sync        Job
	HealthCheck Job
	// Order is what a tick asks for.
	Order run.Order
}

// Job is a scheduled job. Next is zero where it will not come.
type Job struct {
	Expression string
	Next       time.Time
}
