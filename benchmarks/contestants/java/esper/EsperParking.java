package parking;

import com.espertech.esper.common.client.EPCompiled;
import com.espertech.esper.common.client.EventBean;
import com.espertech.esper.common.client.EventSender;
import com.espertech.esper.common.client.configuration.Configuration;
import com.espertech.esper.common.client.configuration.common.ConfigurationCommonEventTypeBean;
import com.espertech.esper.common.client.util.AccessorStyle;
import com.espertech.esper.compiler.client.CompilerArguments;
import com.espertech.esper.compiler.client.EPCompilerProvider;
import com.espertech.esper.runtime.client.EPDeployment;
import com.espertech.esper.runtime.client.EPRuntime;
import com.espertech.esper.runtime.client.EPRuntimeProvider;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.io.Writer;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * Illegal parking in EPL: the geofence is a function, a stay a context that a moving or leaving sample ends.
 *
 * <p>Arguments: {@code epl all|slow ZONES PARK_MS OUT EVENTS...}: one run for each file of events, in this JVM, one
 * line of {@link Report} for each; the incidents of the last run are in OUT. {@code slow}: the zones of slow vehicles
 * only.
 */
public final class EsperParking {
    private static final String EPL =
            """
            create objectarray schema Located(track string, ts long, speed double, zones parking.Inside[]);
            create objectarray schema Standing(track string, ts long, path string);

            insert into Located
            select track, ts, speed, %s as zones from Detection;

            insert into Standing
            select track, ts, path from Located(speed < 1)[select track, ts, path from zones];

            create context Stay
              initiated by distinct(track, path) Standing as came
              terminated by Located(track = came.track, speed >= 1 or not isAmong(came.path, zones));

            @name('parked') context Stay
            select context.came.track as track, context.came.path as zone, context.came.ts as since, seen.ts as ts
            from pattern [seen=Standing(
              track = context.came.track, path = context.came.path, ts - context.came.ts >= %dL)];
            """;
    private static final String EVERY = "zonesAt(lon, lat)";
    private static final String SLOW = "case when speed < 1 then zonesAt(lon, lat) else nowhere() end";
    private static final Inside[] NOWHERE = {};

    // A single-row function is static: so is what it looks things up in.
    private static Zones geofence;
    private static Inside[] insides;

    private EsperParking() {}

    public static Inside[] zonesAt(double lon, double lat) {
        int[] numbers = geofence.noParkingAt(lon, lat);
        if (numbers.length == 0) {
            return NOWHERE;
        }
        Inside[] found = new Inside[numbers.length];
        for (int k = 0; k < found.length; k++) {
            found[k] = insides[numbers[k]];
        }
        return found;
    }

    public static Inside[] nowhere() {
        return NOWHERE;
    }

    public static boolean isAmong(String path, Inside[] zones) {
        for (Inside zone : zones) {
            if (zone.path().equals(path)) {
                return true;
            }
        }
        return false;
    }

    public static void main(String[] given) throws Exception {
        String epl = EPL.formatted(given[1].equals("slow") ? SLOW : EVERY, Long.parseLong(given[3]));
        for (int k = 5; k < given.length; k++) {
            long begun = System.nanoTime();
            double cpuBegun = Report.cpuSeconds();
            run(epl, given[2], given[k], given[4]);
            Report.run((System.nanoTime() - begun) / 1e9, Report.cpuSeconds() - cpuBegun, geofence.memberships());
        }
    }

    private static void run(String epl, String zones, String events, String out) throws Exception {
        geofence = new Zones(zones);
        String[] paths = Zones.paths(zones);
        insides = new Inside[paths.length];
        for (int number = 0; number < paths.length; number++) {
            insides[number] = new Inside(paths[number]);
        }
        Configuration settings = settings();
        EPCompiled compiled = EPCompilerProvider.getCompiler().compile(epl, new CompilerArguments(settings));
        EPRuntime runtime = EPRuntimeProvider.getRuntime("parking", settings);
        try (Writer incidents = Files.newBufferedWriter(Path.of(out))) {
            EPDeployment deployed = runtime.getDeploymentService().deploy(compiled);
            runtime.getDeploymentService()
                    .getStatement(deployed.getDeploymentId(), "parked")
                    .addListener((raised, gone, statement, of) -> write(raised, incidents));
            send(events, runtime.getEventService().getEventSender("Detection"));
        } finally {
            runtime.destroy();
        }
    }

    private static Configuration settings() {
        Configuration settings = new Configuration();
        ConfigurationCommonEventTypeBean fields = new ConfigurationCommonEventTypeBean();
        fields.setAccessorStyle(AccessorStyle.PUBLIC);
        settings.getCommon().addEventType("Detection", Detection.class.getName(), fields);
        for (String function : new String[] {"zonesAt", "nowhere", "isAmong"}) {
            settings.getCompiler().addPlugInSingleRowFunction(function, EsperParking.class.getName(), function);
        }
        settings.getRuntime().getThreading().setInternalTimerEnabled(false);
        return settings;
    }

    private static void send(String events, EventSender sender) throws IOException {
        ObjectReader reader = new ObjectMapper().readerFor(Detection.class);
        try (BufferedReader lines = Files.newBufferedReader(Path.of(events))) {
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                sender.sendEvent(reader.readValue(line));
            }
        }
    }

    private static void write(EventBean[] raised, Writer out) {
        try {
            for (EventBean one : raised) {
                out.write("{\"track\":\"" + one.get("track") + "\",\"zone\":\"" + one.get("zone") + "\",\"start_ms\":"
                        + one.get("since") + ",\"fire_ms\":" + one.get("ts") + "}\n");
            }
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }
}
