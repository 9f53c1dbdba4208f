package clients;

import java.util.Map;

/** Runs one scenario of Apache Kafka's Java clients: {@code Main <bootstrap> <scenario>}; the last line is the verdict. */
public final class Main {
    interface Scenario {
        String run(String bootstrap) throws Exception;
    }

    private static final Map<String, Scenario> SCENARIOS = Map.of(
        "roundtrip", Produce::roundtrip,
        "idempotent", Produce::idempotent,
        "survive", Produce::survive,
        "group", Groups::classic,
        "group848", Groups::server,
        "admin", Admins::run,
        "transactions", Transactions::run);

    public static void main(String[] args) {
        if (args.length != 2 || !SCENARIOS.containsKey(args[1])) {
            System.out.println("FAIL usage: Main <bootstrap> " + String.join("|", SCENARIOS.keySet()));
            System.exit(2);
        }
        int code = 0;
        String verdict;
        try {
            verdict = "OK " + SCENARIOS.get(args[1]).run(args[0]);
        } catch (Throwable error) {
            error.printStackTrace();
            verdict = "FAIL " + String.valueOf(error).replace('\n', ' ');
            code = 1;
        }
        System.out.println(verdict);
        System.out.flush();
        Runtime.getRuntime().halt(code);
    }

    private Main() {
    }
}
