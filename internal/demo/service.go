package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// What is shown of the API's answers.
var (
	ofRun      = []string{"id", "status", "message", "duration"}
	ofRuns     = []string{"runs.id", "runs.status", "runs.request.trigger", "runs.request.reason"}
	ofEvents   = []string{"status", "takeovers", "progress.phase", "progress.acted", "message"}
	ofVerdicts = []string{"isValid", "details", "message"}
	ofStatus   = []string{"productSync", "lastRun.status", "lastRun.message", "scheduler.productSyncScheduler.nextAt"}
	ofSwitch   = []string{"message", "status.switch"}
)

const jsonBody = `-H 'Content-Type: application/json'`

// serve is the story of the service. With keep it goes on until somebody ends it.
func serve(ctx context.Context, s *stage, keep bool) (err error) {
	if err := s.open(ctx); err != nil {
		return err
	}
	service := &service{stage: s}
	defer func() { err = errors.Join(err, service.end(err != nil && ctx.Err() == nil)) }()
	for _, act := range []func(context.Context) error{service.begin, service.byHTTP, service.byMessage, service.inOperation, service.inTheMiddle} {
		if err := act(ctx); err != nil {
			return err
		}
	}
	if keep {
		if err := service.handOver(ctx); err != nil {
			return err
		}
		ctx = context.WithoutCancel(ctx)
	}
	s.say("The end: SIGTERM.")
	return service.terminate(ctx)
}

// byHTTP finds by a dry run, and repairs what that found.
func (s *service) byHTTP(ctx context.Context) error {
	s.say("How far has the cart drifted? A run that only looks, and an answer when it has ended.")
	answer, err := s.run(ctx, 0, `curl -fsS -H "$auth" -H 'Prefer: wait=60' `+jsonBody+" \\\n"+`    -d '{"dryRun":true,"reason":"after the outage"}' $api/sync`, ofRun...)
	if err != nil {
		return err
	}
	if _, err = s.run(ctx, 0, `curl -fsS -H "$auth" $api/runs`, ofRuns...); err != nil {
		return err
	}
	id := idOf(answer)
	if answer, err = s.run(ctx, 0, `curl -fsS -H "$auth" "$api/runs/`+id+`/products?limit=1"`); err != nil {
		return err
	}
	lostProduct := regexp.MustCompile(`"id":"([^"]+)"`).FindStringSubmatch(answer)
	if lostProduct == nil {
		return errors.New("the dry run found nothing")
	}
	s.say("Repair what that run found, each product confirmed once more, and watch.")
	if answer, err = s.run(ctx, 0, `curl -fsS -X POST -H "$auth" $api/runs/`+id+`/apply`, ofRun...); err != nil {
		return err
	}
	if _, err = s.run(ctx, 0, `curl -fsSN -H "$auth" $api/runs/`+idOf(answer)+`/events`, ofEvents...); err != nil {
		return err
	}
	if _, err = s.run(ctx, 0, `curl -fsS -H "$auth" "$api/validate?maxAge=0s"`, ofVerdicts...); err != nil {
		return err
	}
	if _, err = s.run(ctx, 0, `curl -fsS -H "$auth" $api/status`, ofStatus...); err != nil {
		return err
	}
	s.say("Everything that is known of one of the products, history included.")
	_, err = s.run(ctx, 0, "etl explain "+lostProduct[1])
	return err
}

// publishing is what the form "Publish message" of RabbitMQ's management UI does.
func publishing(payload string) string {
	return `curl -fsS ` + jsonBody + " \\\n" + `    -d '{"routing_key":"sync","properties":{},"payload_encoding":"string",` + "\n" +
		`         "payload":"` + strings.ReplaceAll(payload, `"`, `\"`) + `"}' \` + "\n" + `    $RABBITMQ_MANAGEMENT_URL/api/exchanges/` + vhost + `/etl/publish`
}

// byMessage publishes what is no sync request.
func (s *service) byMessage(ctx context.Context) error {
	s.say("A run can be asked for by a message to exchange etl, too: by a program, or by hand in the\nmanagement UI. First one that is wrong, which becomes a dead letter.")
	if _, err := s.run(ctx, 0, publishing(`{"version":1,"mode":"reply"}`)); err != nil {
		return err
	}
	letters, err := s.run(ctx, 0, "sleep 1; etl dead list")
	if err != nil {
		return err
	}
	if !strings.Contains(letters, "mode must be") {
		return errors.New("the wrong message is no dead letter")
	}
	_, err = s.run(ctx, 0, "etl dead drop --all")
	return err
}

// inOperation shows what operators look at and switch.
func (s *service) inOperation(ctx context.Context) error {
	s.say("The switch of the scheduled runs, one for all replicas, and the metrics.")
	for _, action := range []string{"stop", "start"} {
		if _, err := s.run(ctx, 0, `curl -fsS -X POST -H "$auth" $api/scheduler/`+action, ofSwitch...); err != nil {
			return err
		}
	}
	_, err := s.run(ctx, 0, `curl -fsS $service/metrics | grep -E '^etl_(replay_events|queue_messages|sync_outcomes.*"false".*verified)'`)
	return err
}

// inTheMiddle ends the process while a run is in hand, and lets the next one go on.
func (s *service) inTheMiddle(ctx context.Context) error {
	s.say("Another outage loses the events of %d new products. Somebody asks for a run by a message.", lost)
	if err := s.insertMore(ctx); err != nil {
		return err
	}
	if err := s.outage(ctx, products, lost); err != nil {
		return err
	}
	if _, err := s.run(ctx, 0, publishing(`{"version":1,"mode":"replay","reason":"by hand"}`)); err != nil {
		return err
	}
	answer, err := s.run(ctx, 0, `until curl -fsS -H "$auth" "$api/runs?trigger=message&limit=1" | grep running; do sleep 1; done`, ofRuns...)
	if err != nil {
		return err
	}
	events := `curl -fsN -H "$auth" $api/runs/` + idOf(answer) + `/events`
	if _, err := s.run(ctx, 0, events+` | grep -m 1 '"acted":[1-9]'`, ofEvents...); err != nil {
		return err
	}
	s.say("SIGTERM in the middle of it, as when a new version is deployed: the run is handed back.")
	if err := s.terminate(ctx); err != nil {
		return err
	}
	s.say("The next process goes on with it.")
	if err := s.start(ctx); err != nil {
		return err
	}
	if _, err = s.run(ctx, 0, events, ofEvents...); err != nil {
		return err
	}
	counts := s.consumer.Counts()
	s.say("The proof from outside: the cart's consumer inserted %d products, and got %d a second time.", counts.Inserted, counts.Ignored)
	return nil
}

// handOver leaves the service to a person until ctx ends.
func (s *service) handOver(ctx context.Context) error {
	p, err := s.openPlay(ctx)
	if err != nil {
		return err
	}
	s.say("The service and the cart go on until Ctrl-C. In RabbitMQ's management UI, exchange etl has a\nform \"Publish message\" (routing key sync):\n  %s\nIn another terminal:", s.ui("exchanges/"+vhost+"/etl"))
	s.showEnvironment()
	fmt.Fprintf(s.out, "  export PATH=%q:$PATH\n", s.dir)
	for line := range strings.Lines(s.prelude) {
		fmt.Fprint(s.out, "  "+line)
	}
	return p.run(ctx, os.Stdin)
}

// service is the process of `etl serve`.
type service struct {
	*stage
	process *exec.Cmd // nil while it does not run
}

const logName = "etl.log"

// begin starts the service, with the variables of etl and its own.
func (s *service) begin(ctx context.Context) error {
	port := "4000"
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:"+port)
	if err != nil { // somebody's
		if listener, err = new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0"); err != nil {
			return err
		}
		_, port, _ = net.SplitHostPort(listener.Addr().String())
	}
	_ = listener.Close()
	s.more = []string{
		"RABBITMQ_MANAGEMENT_URL=" + s.management.String(),
		"JWT_KEY=" + rand.Text() + rand.Text(),
		"ETL_HOST=127.0.0.1", "PORT=" + port,
		"ETL_LAME_DUCK=0s", // no balancer has to learn of its end
		// The demo asks for each run itself: nothing else is to find what it has lost.
		"ETL_ROLES=api,worker,scheduler", "SYNC_RECENT_SCHEDULE=off",
		// Once a day, and not during the demo.
		fmt.Sprintf("SYNC_CRON_SCHEDULE=0 %d * * *", time.Now().UTC().Add(12*time.Hour).Hour()),
	}
	s.say("The service has the variables of the commands, RABBITMQ_MANAGEMENT_URL and JWT_KEY. (… stands\nfor what is left out of its answers here.)")
	s.assign("service=http://127.0.0.1:"+port, "api=$service/api/etl", `auth="Authorization: Bearer $(etl token)"`)
	return s.start(ctx)
}

// start starts the process and waits until it is ready.
func (s *service) start(ctx context.Context) error {
	s.prompt("etl serve >> " + logName + " &")
	log, err := os.OpenFile(filepath.Join(s.dir, logName), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	process := exec.CommandContext(context.WithoutCancel(ctx), filepath.Join(s.dir, "etl"), "serve")
	process.Env, process.Stdout, process.Stderr = s.environ(), log, log
	process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the demo, which then ends it
	if err := process.Start(); err != nil {
		return err
	}
	s.process = process
	_, err = s.run(ctx, 0, "curl -fs --retry 30 --retry-delay 1 --retry-connrefused $api/ready")
	return err
}

// terminate ends the process as Kubernetes does, and shows what it logs meanwhile.
func (s *service) terminate(ctx context.Context) error {
	lines := func() int {
		log, _ := os.ReadFile(filepath.Join(s.dir, logName)) // tail will say why
		return bytes.Count(log, []byte("\n"))
	}
	before := lines()
	if _, err := s.run(ctx, 0, fmt.Sprintf("kill %d", s.process.Process.Pid)); err != nil {
		return err
	}
	if err := s.wait(); err != nil {
		return err
	}
	_, err := s.run(ctx, 0, fmt.Sprintf("tail -n %d %s", lines()-before, logName))
	return err
}

// patience is how long the process may take to drain, and then some.
const patience = 40 * time.Second

func (s *service) wait() error {
	process := s.process
	s.process = nil
	late := time.AfterFunc(patience, func() { _ = process.Process.Kill() })
	defer late.Stop()
	if err := process.Wait(); err != nil {
		return fmt.Errorf("etl serve: %w", err)
	}
	return nil
}

// end ends the process if it still runs; after a failure the error says what it logged.
func (s *service) end(failed bool) error {
	var problem error
	if s.process != nil {
		_ = s.process.Process.Signal(syscall.SIGTERM)
		problem = s.wait()
	}
	if !failed {
		return problem
	}
	log, err := os.ReadFile(filepath.Join(s.dir, logName))
	if err != nil {
		return problem
	}
	const shown = 3000
	return errors.Join(problem, fmt.Errorf("the service's log ends so:\n%s", log[max(0, len(log)-shown):]))
}

var runID = regexp.MustCompile(`"id":"([0-9a-f-]{36})"`)

// idOf is the id of the first run in an answer.
func idOf(answer string) string {
	if match := runID.FindStringSubmatch(answer); match != nil {
		return match[1]
	}
	return "none"
}
